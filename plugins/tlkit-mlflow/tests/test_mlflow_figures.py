from hypothesis import given
from hypothesis import strategies as st
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.utils.validation import _validate_metric_name
from tlkit_mlflow.figures import metric_names
from tlkit_mlflow.server import make_link, patience, read_link, without_password, write_link


@given(st.lists(st.text(max_size=400), max_size=20))
def test_any_class_names_become_different_keys_that_mlflow_takes(names):
    found = metric_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        _validate_metric_name(f"precision/{name}")
        assert len(f"precision/{name}") <= 250


def test_plain_names_stay_as_they_are():
    assert metric_names(["cat", "St. Bernard", "naïve"]) == ["cat", "St. Bernard", "naïve"]
    assert metric_names(["a/b", "a?b", ".."])[0] == "a_b"


def test_a_link_is_of_one_server_and_holds_no_password(tmp_path):
    write_link(tmp_path, make_link("http://me:secret@host:5000/base", "1", "abc"))
    assert "secret" not in (tmp_path / "mlflow.json").read_text()
    link = read_link(tmp_path, "http://host:5000/base")
    assert link.url == "http://host:5000/base/#/experiments/1/runs/abc"
    assert read_link(tmp_path, "http://other:5000") is None
    (tmp_path / "mlflow.json").write_text("{")
    assert read_link(tmp_path, "http://host:5000/base") is None
    assert without_password("sqlite:///a@b.db") == "sqlite:///a@b.db"


def test_patience_is_short_and_the_users_own_settings_stay(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    with patience():
        assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 10
        assert MLFLOW_HTTP_REQUEST_MAX_RETRIES.get() == 5
    assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 120
    with patience(files=True):
        assert MLFLOW_HTTP_REQUEST_TIMEOUT.get() == 120
