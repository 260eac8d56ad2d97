import zipfile

import pytest

from tlkit import ConfigError, DataError, UnsafeFileError, check_zip
from tlkit.builtin.datasets.arrays import read_npz
from tlkit.limits import LIMITS, limit


def check(path, members, compression=zipfile.ZIP_STORED, allowed=None):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with zipfile.ZipFile(path) as archive:
        check_zip(archive, allowed)


def test_plain_archives_are_let_in(tmp_path):
    check(tmp_path / "a.zip", {"a": b"1", "b/c.txt": b"2", "b/..c": b"3"})
    check(tmp_path / "a.zip", {"a": b"1"}, allowed=("a", "b"))


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/a", "//host/a", "..\\a", "\\a", "C:\\a", "C:a", ".."]
)
def test_names_that_lead_out_are_refused(name, tmp_path):
    with pytest.raises(UnsafeFileError, match="leads out of the archive"):
        check(tmp_path / "a.zip", {name: b""})


def test_other_names_are_refused_where_they_are_listed(tmp_path):
    with pytest.raises(UnsafeFileError, match="member 'c'; allowed are a, b"):
        check(tmp_path / "a.zip", {"a": b"", "c": b""}, allowed=("a", "b"))


def test_a_small_archive_may_be_packed_well_and_a_large_one_may_not(tmp_path):
    check(tmp_path / "a.zip", {"a": bytes(60 * 2**20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeFileError, match="as a decompression bomb does"):
        check(tmp_path / "a.zip", {"a": bytes(70 * 2**20)}, zipfile.ZIP_DEFLATED)


def test_many_small_members_count_together(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_MAX_FILE_BYTES", "99")
    check(tmp_path / "a.zip", {str(number): bytes(9) for number in range(11)})
    with pytest.raises(UnsafeFileError, match="100 bytes, more than 99"):
        check(tmp_path / "a.zip", {str(number): bytes(10) for number in range(10)})


def test_an_encrypted_member_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    check(path, {"a": b"text"})
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        data[data.index(mark) + place] |= 1
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive, pytest.raises(UnsafeFileError, match="is encrypted"):
        check_zip(archive)


def test_an_npz_file_with_a_bomb_or_an_array_of_lies_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", bytes(70 * 2**20))
    with pytest.raises(DataError, match=r"a\.npz is refused: .*decompression bomb"):
        read_npz(path, None)
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }" % (b"9" * 18)
    header = header.ljust(118) + b"\n"
    lie = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", lie)
    with pytest.raises(DataError, match=r"Cannot read .*a\.npz"):
        read_npz(path, None)


def test_limits_come_from_the_environment(monkeypatch):
    for variable, default in LIMITS.items():
        assert limit(variable) == default
        monkeypatch.setenv(variable, "7")
        assert limit(variable) == 7
        monkeypatch.setenv(variable, "7 GB")
        with pytest.raises(ConfigError, match=rf"{variable} = '7 GB' is not allowed: a whole"):
            limit(variable)
        monkeypatch.setenv(variable, "")
        assert limit(variable) == default
