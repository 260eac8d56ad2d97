from hypothesis import given
from hypothesis import strategies as st

from tlkit.checked_json import read_checked_json, write_checked_json


def test_what_is_written_is_read(tmp_path):
    write_checked_json(tmp_path / "a.json", {"shape": (1, 2), "seconds": 0.1, "name": "\u202eé"})
    expected = {"shape": [1, 2], "seconds": 0.1, "name": "\u202eé"}
    assert read_checked_json(tmp_path / "a.json") == expected
    assert read_checked_json(tmp_path / "missing.json") is None


@given(st.data())
def test_a_flipped_byte_is_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("checked") / "a.json"
    write_checked_json(path, {"seconds": 12.5, "name": "train"})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert read_checked_json(path) is None


@given(st.binary(max_size=200))
def test_anything_else_is_nothing(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("checked") / "a.json"
    path.write_bytes(content)
    assert read_checked_json(path) is None
