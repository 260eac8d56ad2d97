"""Changes to good input: of its bytes, and of the values in it."""

from __future__ import annotations

import copy
import io
import math
import pickle
import pickletools
from contextlib import suppress
from typing import Any

from hypothesis import strategies as st

PLACES = st.integers(0, 2**20)
ODD_TEXTS = (
    *("", " ", "x", "0", "-1", "nan", "..", "../../etc/passwd", "/", "C:\\x", "\x00", "\x1b[31m"),
    *(
        "\u202eevil",
        "[bold]red[/]",
        "</script>",
        "=cmd()",
        "%s%n",
        "{0}",
        "$x$",
        "猫",
        "\n",
        "a" * 300,
    ),
)
ODD_NUMBERS = (
    *(0, 1, -1, 2, 3.5, -0.0, 1e-320, 1e308, -1e308, 2**31, 2**32, 2**63, 2**64, -(2**63) - 1),
    *(10**30, 10**400, math.nan, math.inf, -math.inf),
)
ODD_VALUES = st.one_of(
    # Later changes reach into them: shared ones would grow from input to input.
    st.builds(
        copy.deepcopy,
        st.sampled_from(
            (None, True, False, [], {}, [[]], [None], {"": ""}, {"name": 1}, [[1, 2], [3]])
        ),
    ),
    st.sampled_from(ODD_NUMBERS),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(st.integers(-5, 5), st.floats(), st.text(max_size=3)), max_size=3),
    st.builds(lambda depth: _nested(depth), st.sampled_from((3, 50, 150, 900))),
)


def _nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


CHANGES_OF_BYTES = st.lists(
    st.tuples(
        st.sampled_from(("set", "set", "flip", "insert", "cut", "end", "repeat", "number")),
        PLACES,
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from((b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")),
        ),
    ),
    max_size=5,
)


def change_bytes(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """Apply changes to content of any kind."""
    data = bytearray(content)
    for kind, place, new in changes:
        if not data:
            return bytes(new)
        # Headers stand at the ends, and most of what there is to break is in headers.
        at = place % len(data) if place % 3 else place % min(len(data), 64)
        if kind == "set":
            data[at : at + len(new)] = new
        elif kind == "flip":
            data[at] ^= 1 << (place % 8)
        elif kind == "insert":
            data[at:at] = new
        elif kind == "cut":
            del data[at : at + new[0] + 1]
        elif kind == "end":
            del data[at:]
        elif kind == "repeat":
            data[at:at] = data[at : at + new[0] + 1]
        else:
            data[at : at + 4] = (place * 0x9E3779B1 % 2**32).to_bytes(4, "little")
    return bytes(data)


CHANGES_OF_VALUES = st.lists(
    st.tuples(
        st.sampled_from(
            ("set", "set", "set", "drop", "rename", "swap", "add", "longer", "shorter")
        ),
        PLACES,
        ODD_VALUES,
    ),
    max_size=4,
)


def change_values(value: Any, changes: list[tuple[str, int, Any]]) -> Any:
    """Apply changes to a tree of dicts and lists; the tree itself is left as it is."""
    root = [copy.deepcopy(value)]
    for kind, place, new in changes:
        spots = _spots(root)
        parent, key = spots[place % len(spots)]
        if kind == "set":
            parent[key] = new
        elif kind == "drop":
            if parent is not root:
                del parent[key]
        elif kind == "rename" and isinstance(parent, dict):
            parent[str(new)] = parent.pop(key)
        elif kind == "swap":
            other, other_key = spots[place * 31 % len(spots)]
            with suppress(RecursionError):
                parent[key] = copy.deepcopy(other[other_key])
        elif kind == "add" and isinstance(parent, dict):
            parent[str(new)[:20]] = new
        elif kind == "longer" and isinstance(parent[key], list):
            parent[key] += parent[key][:50] or [new]
        elif kind == "shorter" and isinstance(parent[key], list):
            del parent[key][-1:]
    return root[0]


def _spots(root: list[Any]) -> list[tuple[Any, Any]]:
    found, waiting = [], [root]
    while waiting and len(found) < 5000:
        parent: Any = waiting.pop()
        for key in list(parent) if isinstance(parent, dict) else range(len(parent)):
            found.append((parent, key))
            if isinstance(parent[key], dict | list):
                waiting.append(parent[key])
    return found


CHANGES_OF_OPCODES = st.lists(
    st.tuples(st.sampled_from(("drop", "repeat", "swap", "insert", "move")), PLACES, PLACES),
    max_size=6,
)
_ODD_OPCODES = (
    *(
        b"0",
        b"1",
        b"2",
        b"(",
        b"N",
        b"]",
        b")",
        b"}",
        b"a",
        b"e",
        b"s",
        b"u",
        b"t",
        b"\x85",
        b"\x86",
    ),
    *(b"R", b"b", b"\x93", b"\x94", b"h\x00", b"q\x00", b"r\xff\xff\xff\x00", b"j\x00\x00\x01\x00"),
    *(
        b"cos\nsystem\n",
        b"cnumpy\ndtype\n",
        b"c_codecs\nencode\n",
        b"K\x05",
        b"G" + b"\x7f\xf0" * 4,
    ),
    *(
        b"\x8a\x04\xff\xff\xff\x7f",
        b"I99999999999\n",
        b"F1e999\n",
        b"X\x02\x00\x00\x00u1",
        b"P1\n",
        b"Q",
    ),
    *(
        b"(ios\nsystem\n",
        b"\x81",
        b"\x92",
        b"\x82\x01",
        b"p9999999\n",
        b"g0\n",
        b"V\\u12\n",
        b"S'x\n",
    ),
)


def change_opcodes(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    """Apply changes to the program that a pickle is."""
    places = [position or 0 for _, _, position in pickletools.genops(io.BytesIO(data))]
    parts = [data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]
    for kind, place, other in changes:
        at, to = place % len(parts), other % len(parts)
        if kind == "drop" and len(parts) > 1:
            del parts[at]
        elif kind == "repeat":
            parts[at:at] = parts[at : at + 1 + other % 4] * (1 + other % 40)
        elif kind == "swap":
            parts[at], parts[to] = parts[to], parts[at]
        elif kind == "move":
            parts.insert(to, parts[at])
        elif kind == "insert":
            parts.insert(at, _ODD_OPCODES[other % len(_ODD_OPCODES)])
    return b"".join(parts)


def pickled(value: Any, protocol: int) -> bytes:
    """Return a pickle of values that may not fit into every protocol."""
    try:
        return pickle.dumps(value, protocol)
    except (RecursionError, UnicodeError):
        return pickle.dumps("too deep", protocol)
