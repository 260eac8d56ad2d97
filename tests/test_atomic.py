import stat
import sys

import pytest

from tlkit.atomic import atomic_path, atomic_write_bytes, atomic_write_text


def names(folder):
    return [path.name for path in folder.iterdir()]


def fail_halfway(path, error):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error


def test_text_is_written_as_it_is(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "ä\r\nb\n猫")
    assert path.read_bytes() == "ä\r\nb\n猫".encode()
    assert names(tmp_path) == ["a.txt"]


def test_a_lone_surrogate_does_not_stop_the_write(tmp_path):
    atomic_write_text(tmp_path / "a.txt", "caf\udce9.png")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "caf\\udce9.png"


def test_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    atomic_write_bytes(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail_halfway(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_temporary_path_is_beside_and_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "model.keras") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".keras"
        assert temporary.name.startswith(".")


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path):
    path = tmp_path / ("n" * 250)
    atomic_write_text(path, "x")
    assert path.read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_file_has_the_mode_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").write_text("")
    atomic_write_text(tmp_path / "atomic", "")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "atomic")}
    assert len(modes) == 1


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_write_text(tmp_path / "none" / "a.txt", "x")
