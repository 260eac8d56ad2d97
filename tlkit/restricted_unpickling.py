"""Reading pickles from outside: data and a few named stand-ins, and nothing that runs.

A pickle is a program, so three fences stand between it and the interpreter. Its opcodes are read
before any of them runs, and only those that data consists of are let through. It can name only what
the caller lists. And what the caller lists should be ``Sealed``, so that the program cannot change
it for those who come after.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from tlkit.errors import DataError, TlkitError, UnsafeFileError

# Missing on purpose: other ways to reach a class or an instance (INST, OBJ, NEWOBJ, EXT1),
# persistent ids, buffers from outside the pickle, and DUP, which makes trees that grow like 2**n.
# fmt: off
DATA_OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK",
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4",
    "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "EMPTY_DICT", "DICT", "EMPTY_LIST", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2",
    "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
))
# fmt: on
MAX_OPCODES = 2_000_000
# Tuples nested deeper than this overflow the C stack when they are hashed.
MAX_TUPLES = 30_000


class Sealed:
    """An object that the BUILD opcode cannot change; base of stand-ins."""

    def __setstate__(self, state: Any) -> NoReturn:
        """Refuse.

        Raises:
            UnsafeFileError: Always.
        """
        raise UnsafeFileError(f"it changes the state of a {type(self).__name__.strip('_')}")


def restricted_load(
    data: bytes,
    allowed: Mapping[tuple[str, str], Any],
    *,
    start: int = 0,
    encoding: str = "ASCII",
    opcodes: frozenset[str] = DATA_OPCODES,
    max_opcodes: int = MAX_OPCODES,
    max_tuples: int = MAX_TUPLES,
    persistent_load: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """Read one pickle without running what is in it.

    Args:
        data: Bytes that hold the pickle, protocol 0 to 5.
        allowed: What the pickle may name, by module and name, and what stands for it. Nothing is
            imported.
        start: Where in the bytes the pickle begins.
        encoding: How text of Python 2 is decoded; ``"bytes"`` leaves it as it is.
        opcodes: The names of the opcodes that it may consist of.
        max_opcodes: The most opcodes. The unpickler keeps a table as long as the largest index that
            is stored in it, which may be no larger either.
        max_tuples: The most tuples.
        persistent_load: What turns a persistent id into an object; by default they are refused.

    Returns:
        The object, and where the pickle ends.

    Raises:
        UnsafeFileError: If it names something else, or uses another opcode; the message begins with
            "it" and names what that is.
        DataError: If it is damaged; the message begins with "it" too.
        TlkitError: What the stand-ins and ``persistent_load`` raise.
    """
    try:
        end = _check_opcodes(data, start, opcodes, max_opcodes, max_tuples)
        unpickler = _Unpickler(data[start:end], allowed, encoding, persistent_load)
        return unpickler.load(), end
    except TlkitError:
        raise
    except Exception as err:  # damaged pickles make the unpickler raise almost anything
        raise DataError(f"it is damaged ({type(err).__name__}: {err})") from err


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        program: bytes,
        allowed: Mapping[tuple[str, str], Any],
        encoding: str,
        persistent_load: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(io.BytesIO(program), encoding=encoding)
        self._allowed, self._persistent_load = allowed, persistent_load

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            listed = ", ".join(sorted(f"{first}.{second}" for first, second in self._allowed))
            raise UnsafeFileError(
                f"it names {module}.{name}, which is not allowed; allowed are {listed or 'none'}"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent_load is None:
            raise UnsafeFileError("it has a persistent id, which is not allowed")
        return self._persistent_load(pid)


def _check_opcodes(
    data: bytes, start: int, allowed: frozenset[str], max_opcodes: int, max_tuples: int
) -> int:
    """Check the opcodes of the pickle at ``start`` without running it, and return its end."""
    file = io.BytesIO(data)
    file.seek(start)
    stored: set[int] = set()
    tuples: set[int] = set()
    made, before = 0, ""
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if name not in allowed:
            raise UnsafeFileError(f"it uses the pickle opcode {name}, which is not allowed")
        if count >= max_opcodes:
            raise UnsafeFileError(f"it has a pickle of more than {max_opcodes} opcodes")
        made += name.startswith("TUPLE")
        if made > max_tuples:
            raise UnsafeFileError(f"it has more than {max_tuples} tuples")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(stored) if name == "MEMOIZE" else int(argument)
            if not 0 <= index < max_opcodes:
                raise UnsafeFileError(f"it uses the memo index {index}")
            stored.add(index)
            tuples.discard(index)
            if before.startswith("TUPLE"):
                tuples.add(index)
        elif name in ("GET", "BINGET", "LONG_BINGET") and int(argument) in tuples:
            # A tuple of twice the same tuple, and so on, takes for ever to hash.
            raise UnsafeFileError("it uses a tuple twice, which is not allowed")
        before = name
    return file.tell()
