from pathlib import Path

import pytest

from tlkit import expand_home


def test_the_home_folder_takes_the_place_of_its_sign(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert expand_home("~/data") == Path("/home/someone/data")
    assert expand_home(Path("data")) == Path("data")


@pytest.mark.parametrize("path", ["~0", "~nobody-of-that-name/x"])
def test_a_home_that_is_not_known_stays_as_it_is(path):
    assert expand_home(path) == Path(path)
