import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlkit import DataError
from tlkit.builtin.datasets.cifar_pickle import load

GOOD = {b"data": np.arange(12, dtype=np.uint8).reshape(3, 4), b"labels": [1, 2, 3]}


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_numbers_text_and_arrays_are_read(protocol):
    found = load(pickle.dumps({**GOOD, "name": b"x"}, protocol), "batch")
    np.testing.assert_array_equal(found[b"data"], GOOD[b"data"])
    assert found[b"labels"] == [1, 2, 3]
    assert set(found) == {b"data", b"labels", b"name"}


def test_big_endian_numbers_keep_their_values():
    found = load(pickle.dumps({"a": np.array([1, 256], ">i4")}, 2), "batch")
    assert found[b"a"].tolist() == [1, 256]


@pytest.mark.parametrize(
    "attack",
    [
        Calls(__import__("os").system, "touch owned"),
        Calls(eval, "open('owned', 'w')"),
        Calls(getattr, "", "join"),
        Calls(__import__("subprocess").Popen, ["touch", "owned"]),
        Calls(__import__("importlib").import_module, "this"),
        Calls(__import__("codecs").decode, b"", "zlib"),
        np.array([object()], dtype=object),
        {1: 2},
        3 + 4j,
    ],
)
def test_exploits_and_strange_values_are_refused_and_not_run(attack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="batch"):
        load(pickle.dumps({"data": attack}, 2), "batch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", [b"", b"junk", pickle.dumps([1]), pickle.dumps({1: 2})])
def test_what_is_no_dictionary_of_text_is_refused(data):
    with pytest.raises(DataError, match="batch"):
        load(data, "batch")


def test_only_latin1_is_encoded():
    start = b"\x80\x02}X\x01\x00\x00\x00ac_codecs\nencode\n"
    data = start + b"X\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86Rs."
    with pytest.raises(DataError, match="encoding 'hex'"):
        load(data, "batch")


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_give_a_dictionary_or_one_error(changes):
    data = bytearray(pickle.dumps(GOOD, 2))
    for position, value in changes:
        data[position % len(data)] = value
    try:
        assert isinstance(load(bytes(data), "batch"), dict)
    except DataError as error:
        assert "batch" in str(error)
