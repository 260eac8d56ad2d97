"""The restricted reader: right on good files, one clear error on all others."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlkit_efficientnet_lite import torch_file
from tlkit_efficientnet_lite.torch_file import read_state_dict

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
    return Call(
        REBUILD, ("storage", storage, key, "cpu", numel, None), offset, shape, stride, False, None
    )


def make_file(path, obj=None, keys=("k",), numel=6, system=None):
    obj = OrderedDict(w=tensor()) if obj is None else obj
    system = system or {"little_endian": True}
    parts = [torch_file.MAGIC_NUMBER, torch_file.PROTOCOL_VERSION, system, obj, list(keys)]
    values = np.arange(6, dtype="<f4").tobytes()
    data = b"".join(dump(part) for part in parts) + numel.to_bytes(8, "little", signed=True)
    path.write_bytes(data + values)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def test_a_good_file_is_read(path):
    found = read_state_dict(make_file(path, OrderedDict(a=tensor(), b=tensor(stride=(1, 2)))))
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
        read_state_dict(make_file(path, OrderedDict(w=attack)))
    assert [item.name for item in tmp_path.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize(
    "bad",
    [
        tensor(offset=1),
        tensor(offset=-1),
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
        read_state_dict(make_file(path, OrderedDict(w=bad)))


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
        read_state_dict(make_file(path, **changes))


def test_a_missing_and_an_empty_file(path):
    with pytest.raises(WeightsError, match="No such file"):
        read_state_dict(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="damaged"):
        read_state_dict(path)


def test_a_file_cut_anywhere_is_refused(path):
    data = make_file(path).read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError):
            read_state_dict(path)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_give_arrays_or_one_error(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("mutated") / "weights.pth"
    data = bytearray(make_file(path).read_bytes())
    for position, value in changes:
        data[position % len(data)] = value
    path.write_bytes(data)
    try:
        found = read_state_dict(path)
    except WeightsError as error:
        assert "weights.pth" in str(error)
    else:
        assert all(isinstance(value, np.ndarray) for value in found.values())
