import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.utils.validation import _validate_metric_name
from tlkit_mlflow.artefacts import log_files
from tlkit_mlflow.figures import metric_names
from tlkit_mlflow.parent import finish_parent
from tlkit_mlflow.server import (
    has_password,
    make_link,
    patience,
    read_link,
    without_password,
    write_link,
)

from tlkit.compare.records import Cell, Comparison


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


@pytest.mark.parametrize(
    ("uri", "plain"),
    [
        ("https://hush@host/base", "https://host/base"),
        ("HTTPS://me:hush@host", "HTTPS://host"),
        ("https://me:hu@sh@host", "https://host"),
        ("https://host/base?token=hush&x=1", "https://host/base?x=1"),
        ("postgresql://me:hush@h/db", "postgresql://h/db"),
        ("postgresql://me:hu/sh#?@h:5432/db", "postgresql://h:5432/db"),
        ("postgresql://h/db?user=a&password=hush", "postgresql://h/db?user=a"),
        ("postgresql://h/db?sslpassword=hush", "postgresql://h/db"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhush", "mssql+pyodbc:///"),
    ],
)
def test_passwords_and_tokens_are_found_and_taken_out(uri, plain):
    assert has_password(uri)
    assert without_password(uri) == plain
    assert not has_password(plain)


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "http://host:5000/teams/a@b?x=1",
        "sqlite:////home/a@b/token.db",
        "postgresql://h:5432/db?sslmode=require&sslkey=/k&passfile=/p",
        "databricks://profile",
        "runs",
    ],
)
def test_addresses_without_one_stay_as_they_are(uri):
    assert not has_password(uri)
    assert without_password(uri) == uri


def test_a_databases_user_name_is_no_password():
    assert not has_password("postgresql://me@h/db")


def test_models_and_test_images_are_not_sent_as_files(tmp_path, monkeypatch):
    for name in ("model.keras", "test_images.zip", "mlflow.json", "metrics.json", "plots/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sent = []
    monkeypatch.setattr(mlflow, "log_artifact", lambda path, place: sent.append((path, place)))
    log_files(tmp_path)
    assert sent == [
        (str(tmp_path / "metrics.json"), None),
        (str(tmp_path / "plots" / "a.png"), "plots"),
    ]


def test_text_from_outside_stays_text_in_the_description(tmp_path):
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs.db'}")
    run_id = client.create_run(client.create_experiment("x")).info.run_id
    mlflow.set_tracking_uri(client.tracking_uri)
    cell = Cell("a|b", "<i>", 0, "")
    notes = ("![x](http://y) <script>\n# big",)
    (tmp_path / "empty").mkdir()
    finish_parent(run_id, Comparison((cell,), notes=notes), tmp_path / "empty")
    text = client.get_run(run_id).data.tags["mlflow.note.content"]
    _, _, row, _, note = text.split("\n")
    assert row.count("|") == 3
    for sign in "<>[]!":
        assert sign not in text
    assert "script" in note
