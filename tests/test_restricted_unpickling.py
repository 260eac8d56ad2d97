import copyreg
import os
import pickle
import subprocess

import numpy as np
import pytest

from tlkit import DataError, Sealed, UnsafeFileError, restricted_load


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


class Point(Sealed):
    def __call__(self, *arguments):
        return list(arguments)


POINT = {("shapes", "Point"): Point()}
NAMED = b"cshapes\nPoint\n"


def text(value):
    return pickle.BINUNICODE + len(value).to_bytes(4, "little") + value.encode()


def program(body):
    return b"\x80\x02" + body + b"."


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [None, True, -3, 10**30, 2.5, "a\n猫", b"\x00\xff", [1, [2]], (1, 2), {"a": {"b": (3,)}}],
)
def test_data_is_read_in_every_protocol(protocol, value):
    allowed = {("_codecs", "encode"): lambda text, encoding="latin1": text.encode(encoding)}
    data = pickle.dumps(value, protocol)
    assert restricted_load(data, allowed) == (value, len(data))


def test_it_begins_where_it_is_told_and_says_where_it_ends():
    data = b"header" + pickle.dumps([1], 2) + b"rest"
    assert restricted_load(data, {}, start=6) == ([1], len(data) - 4)


def test_what_is_named_is_what_the_caller_gave():
    assert restricted_load(program(NAMED + b"K\x01K\x02\x86R"), POINT)[0] == [1, 2]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (Calls(os.system, "touch owned"), r"(posix|nt)\.system"),
        (Calls(eval, "open('owned', 'w')"), r"(__builtin__|builtins)\.eval"),
        (Calls(exec, "open('owned', 'w')"), r"(__builtin__|builtins)\.exec"),
        (Calls(getattr, os, "system"), r"(__builtin__|builtins)\.getattr|cannot"),
        (Calls(subprocess.Popen, ["touch", "owned"]), r"(subprocess|commands)\.Popen"),
        (
            Calls(subprocess.check_output, ["touch", "owned"]),
            r"\.check_output",
        ),
        (Calls(copyreg._reconstructor, object, object, None), "_reconstructor"),
        (Calls(list, Calls(map, os.system, ["touch owned"])), r"\.(list|map)"),
        (Calls(np.load, "owned"), r"numpy"),
    ],
)
def test_exploits_are_named_and_not_run(attack, name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        data = pickle.dumps({"data": [attack]}, protocol)
    except TypeError as err:  # a module cannot be pickled, in whatever protocol
        assert "cannot pickle" in str(err)
        data = program(b"cbuiltins\ngetattr\n(cos\nsystem\n" + text("x") + b"tR")
    with pytest.raises(UnsafeFileError, match=name):
        restricted_load(data, {})
    with pytest.raises(UnsafeFileError, match=name):
        restricted_load(data, POINT)
    assert not list(tmp_path.iterdir())


def test_the_exploits_are_real(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps({"data": [Calls(os.system, "touch owned")]}, 2))
    assert (tmp_path / "owned").exists()


def test_a_dotted_name_reaches_no_attribute_of_what_is_allowed():
    data = b"\x80\x04\x8c\x06shapes\x8c\x0ePoint.__init__\x93."
    with pytest.raises(UnsafeFileError, match=r"shapes\.Point\.__init__"):
        restricted_load(data, POINT)


@pytest.mark.parametrize("name", ["__call__", "__setstate__", "__class__", "owned"])
@pytest.mark.parametrize("slots", [False, True])
def test_build_does_not_change_what_is_allowed(name, slots):
    before = dict(vars(POINT["shapes", "Point"])), dict(vars(Point))
    state = b"}" + text(name) + text("evil") + b"s"
    with pytest.raises(UnsafeFileError, match="changes the state of a Point"):
        restricted_load(program(NAMED + (b"N" + state + b"\x86" if slots else state) + b"b"), POINT)
    assert (dict(vars(POINT["shapes", "Point"])), dict(vars(Point))) == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"(ios\nsystem\n", "opcode INST"),
        (b"(cshapes\nPoint\no", "opcode OBJ"),
        (NAMED + b")\x81", "opcode NEWOBJ"),
        (b"\x82\x01", "opcode EXT1"),
        (b"\x83\x01\x01", "opcode EXT2"),
        (b"Pid\n", "opcode PERSID"),
        (b"Nr\xff\xff\xff\x0f", "memo index 268435455"),  # would be a memo of gigabytes
        (b"Np-1\n", "memo index -1"),
        (b"]" + b"2" * 50, "opcode DUP"),
        (b"})" + b"q\x00h\x00\x86" * 80 + b"Ns", "a tuple twice"),  # 2**80 steps to hash
        (b"})" + b"\x85" * 10**5 + b"Ns", "more than 30000 tuples"),  # overflows the C stack
        (b"(" + b"N" * 2_100_000 + b"l", "more than 2000000 opcodes"),
    ],
)
def test_opcodes_that_no_data_needs_are_refused(body, message):
    with pytest.raises(UnsafeFileError, match=message):
        restricted_load(program(body), POINT)


def test_memoize_counts_its_own_tuples():
    twice = b"\x80\x04})\x94h\x00h\x00\x86Ns."
    with pytest.raises(UnsafeFileError, match="a tuple twice"):
        restricted_load(twice.replace(b")\x94", b"N\x85\x94"), {})


def test_persistent_ids_go_to_the_caller_where_they_are_allowed():
    data = program(text("id") + b"Q")
    with pytest.raises(UnsafeFileError, match="BINPERSID"):
        restricted_load(data, {})
    opcodes = frozenset({"PROTO", "BINUNICODE", "BINPERSID", "STOP"})
    assert restricted_load(data, {}, opcodes=opcodes, persistent_load=str.upper)[0] == "ID"
    with pytest.raises(UnsafeFileError, match="persistent id"):
        restricted_load(data, {}, opcodes=opcodes)


def test_what_a_stand_in_raises_goes_through():
    def refuse(*arguments):
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        restricted_load(program(NAMED + b")R"), {("shapes", "Point"): refuse})


@pytest.mark.parametrize(
    "data", [b"", b".", b"0.", b"]a.", b"I1", b"X\xff\xff\xff\x7f", b"F1,5\n."]
)
def test_damaged_pickles_are_one_error(data):
    with pytest.raises(DataError, match="it is damaged"):
        restricted_load(data, {})
