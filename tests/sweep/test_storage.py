import pytest

from tlkit.errors import ConfigError
from tlkit.sweep.storage import VARIABLE, choose_storage, open_storage, shown

pytest.importorskip("optuna")
SECRET = "s3cr3t%21"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db.example/study",
        f"postgresql+psycopg2://db.example/study?user=me&password={SECRET}",
    ],
)
def test_a_password_is_taken_from_the_environment_only_and_never_shown(url, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=VARIABLE) as caught:
        choose_storage(url, tmp_path)
    assert SECRET not in str(caught.value)
    monkeypatch.setenv(VARIABLE, url)
    assert choose_storage(None, tmp_path) == url
    assert shown(url).endswith("://db.example/study")


def test_the_default_is_a_file_in_the_output(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert choose_storage(None, tmp_path) == f"sqlite:///{tmp_path}/study.db"


@pytest.mark.parametrize(
    "url", ["study.db", "redis://x", "journal:", "sqlite", "postgresql:", "a b"]
)
def test_what_is_no_storage_gets_one_error_that_does_not_repeat_it(url, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="Allowed: sqlite"):
        choose_storage(url, tmp_path)


def test_a_storage_that_cannot_be_reached_gets_one_error(tmp_path):
    (tmp_path / "file").write_text("")
    for url in (f"sqlite:///{tmp_path}/file/study.db", f"journal:{tmp_path}/file/study.log"):
        with pytest.raises(ConfigError, match="Cannot use the storage"):
            open_storage(url)
    (tmp_path / "no.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        open_storage(f"sqlite:///{tmp_path}/no.db")


def test_an_unreachable_server_or_a_missing_driver_gets_one_error_without_the_password(tmp_path):
    with pytest.raises(ConfigError, match=r"psycopg|Cannot use") as caught:
        open_storage(f"postgresql://me:{SECRET}@127.0.0.1:9/study")
    error = caught.value
    assert "postgresql://127.0.0.1:9/study" in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__
