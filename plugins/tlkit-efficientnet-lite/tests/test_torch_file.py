"""The restricted reader: right on good files, one clear error on all others."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlkit_efficientnet_lite import torch_file
from tlkit_efficientnet_lite.torch_file import read_torch_state_dict

from tlkit import WeightsError


class Named:
    """Pickles as a bare global name, as torch's classes do."""

    def __init__(self, module, name):
        self.text = f"c{module}\n{name}\n".encode()


class Pickler(pickle._Pickler):
    """Writes the older torch format without torch."""

    def persistent_id(self, obj):
        return obj if isinstance(obj, tuple) and obj[:1] == ("storage",) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Named):
            self.write(obj.text)
        elif isinstance(obj, Call):
            self.save(obj.function)
            super().save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments


FLOAT = Named("torch", "FloatStorage")
REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def dump(obj):
    import io

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(obj)
    return buffer.getvalue()


def tensor(key="k", numel=6, offset=0, shape=(2, 3), stride=(3, 1), storage=FLOAT):
    # New tuples each time, as torch makes them: a literal would be pickled as one shared object.
    shape, stride = tuple([*shape]), tuple([*stride])
    pid = ("storage", storage, key, "cpu", numel, None)
    return Call(REBUILD, pid, offset, shape, stride, False, None)


def text(value):
    return pickle.BINUNICODE + len(value).to_bytes(4, "little") + value.encode()


def make_program(*opcodes):
    """A pickle by hand: the opcodes push the value of a state dict's only entry."""
    start = b"\x80\x02ccollections\nOrderedDict\n)R" + text("w")
    return start + b"".join(opcodes) + b"s."


def make_file(path, obj=None, keys=("k",), numel=6, system=None):
    obj = OrderedDict(w=tensor()) if obj is None else obj
    system = system or {"little_endian": True}
    parts = [torch_file.MAGIC_NUMBER, torch_file.PROTOCOL_VERSION, system, obj, list(keys)]
    data = b"".join(part if isinstance(part, bytes) else dump(part) for part in parts)
    if numel is not None:  # None: the file has no storage
        data += numel.to_bytes(8, "little", signed=True) + np.arange(6, dtype="<f4").tobytes()
    path.write_bytes(data)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def test_a_good_file_is_read(path):
    found = read_torch_state_dict(make_file(path, OrderedDict(a=tensor(), b=tensor(stride=(1, 2)))))
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["b"], [[0, 2, 4], [1, 3, 5]])


@pytest.mark.parametrize(
    "attack",
    [
        Call(Named("os", "system"), "touch owned"),
        Call(Named("builtins", "eval"), "open('owned', 'w')"),
        Call(Named("posix", "system"), "touch owned"),
        Call(Named("builtins", "getattr"), "", "join"),
        Call(Named("torch._utils", "_rebuild_tensor"), 1),
        Call(Named("collections", "OrderedDict.__init__"), 1),
        Call(FLOAT, 10**12),
    ],
)
def test_exploits_are_refused_and_not_run(path, attack, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        read_torch_state_dict(make_file(path, OrderedDict(w=attack)))
    assert [item.name for item in tmp_path.iterdir()] == ["weights.pth"]


GLOBALS = [b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
           b"ccollections\nOrderedDict\n"]  # fmt: skip


@pytest.mark.parametrize("target", GLOBALS)
@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("name", ["dtype", "__call__", "__setstate__", "__class__", "owned"])
def test_build_changes_nothing_that_outlives_the_file(path, target, slots, name):
    before = [(key, repr(value), dict(vars(value))) for key, value in torch_file._ALLOWED.items()]
    state = b"}" + text(name) + text("evil") + b"s"
    program = make_program(target, b"N" + state + b"\x86b" if slots else state + b"b")
    with pytest.raises(WeightsError, match="changes the state"):
        read_torch_state_dict(make_file(path, program, keys=()))
    after = [(key, repr(value), dict(vars(value))) for key, value in torch_file._ALLOWED.items()]
    assert after == before


PID = (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("k") + text("cpu")
       + b"K\x06Nt")  # fmt: skip


@pytest.mark.parametrize("name", ["numel", "dtype"])
def test_build_cannot_resize_a_storage_after_its_check(path, name):
    # The persistent id is loaded as a pair; the storage itself is out of reach.
    program = make_program(PID + b"Q", b"}" + text(name) + b"J\xff\xff\xff\x7fsb")
    with pytest.raises(WeightsError, match="has no attribute '__dict__'"):
        read_torch_state_dict(make_file(path, program))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"(ios\nsystem\n", "opcode INST"),
        (b"(" + GLOBALS[2] + b"o", "opcode OBJ"),
        (GLOBALS[2] + b")\x81", "opcode NEWOBJ"),
        (b"\x82\x01", "opcode EXT1"),
        (b"\x8c\x02os\x8c\x06system\x93", "opcode SHORT_BINUNICODE"),
        (b"\x8d" + (2**60).to_bytes(8, "little"), "damaged"),
        (b"X\xff\xff\xff\x7f", "damaged"),
        (b"Nr\xff\xff\xff\x0f", "memo index"),  # would be a memo of gigabytes
        (b"})" + b"\x85" * 10**6 + b"Ns", "more than 30000 opcodes"),  # overflows the C stack
        (b"})" + b"q\x00h\x00\x86" * 80 + b"Ns", "uses a tuple twice"),  # 2**80 steps to hash
        (GLOBALS[2] + b"]\x85R", "in a way that torch does not"),
        (b"})" + b"\x85" * 20_000 + b"Ns", "an entry is a dict"),
    ],
)
def test_opcodes_that_no_weights_file_needs_are_refused(path, program, message):
    with pytest.raises(WeightsError, match=message):
        read_torch_state_dict(make_file(path, make_program(program), keys=(), numel=None))


def test_many_tensors_on_one_storage_share_its_memory(path):
    tensors = OrderedDict((f"w{number}", tensor()) for number in range(50))
    found = list(read_torch_state_dict(make_file(path, tensors)).values())
    assert all(np.shares_memory(found[0], value) for value in found[1:])
    assert not any(value.flags.writeable for value in found)


def test_other_formats_are_named(path):
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=r"newer format.*_use_new_zipfile_serialization=False"):
        read_torch_state_dict(path)
    path.write_bytes(make_file(path).read_bytes() + b"x")
    with pytest.raises(WeightsError, match="1 bytes follow"):
        read_torch_state_dict(path)


@pytest.mark.parametrize(
    "bad",
    [
        tensor(offset=1),
        tensor(offset=-1),
        tensor(offset=7, shape=(0,), stride=(1,)),
        tensor(shape=(1,) * 9, stride=(1,) * 9),
        tensor(stride=(3, -1)),
        tensor(shape=(True, 3)),
        tensor(shape=(2, 4)),
        tensor(shape=(2, 3), stride=(2**39, 1)),
        tensor(shape=(6, 6), stride=(0, 1)),
        tensor(shape=(2,)),
        tensor(numel=-6),
        tensor(numel=2**50),
        tensor(storage=REBUILD),
        "text",
    ],
)
def test_impossible_tensors_are_refused(path, bad):
    with pytest.raises(WeightsError):
        read_torch_state_dict(make_file(path, OrderedDict(w=bad)))


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": ("other",)},
        {"keys": ("k", "k")},
        {"numel": 5},
        {"numel": -1},
        {"obj": [1]},
        {"system": {"little_endian": False}},
    ],
)
def test_inconsistent_files_are_refused(path, changes):
    with pytest.raises(WeightsError):
        read_torch_state_dict(make_file(path, **changes))


def test_a_missing_and_an_empty_file(path):
    with pytest.raises(WeightsError, match="No such file"):
        read_torch_state_dict(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="damaged"):
        read_torch_state_dict(path)


def test_a_file_cut_anywhere_is_refused(path):
    data = make_file(path).read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_torch_state_dict(path)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_give_arrays_or_one_error(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("mutated") / "weights.pth"
    data = bytearray(make_file(path).read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    path.write_bytes(data)
    try:
        found = read_torch_state_dict(path)
    except WeightsError as error:
        assert "weights.pth" in str(error)
    else:
        assert all(isinstance(value, np.ndarray) for value in found.values())
