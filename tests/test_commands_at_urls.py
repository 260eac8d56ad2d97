"""Every command that takes a run takes its URL, and names it; keys are said and kept nowhere."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.s3_server import ACCESS_KEY, SECRET_KEY
from tlkit import mirror
from tlkit.paths import stores_folder

SMALL = ("backbone.image_size=32", "workflow.epochs=2", "head.units=8")


@pytest.fixture
def call(tlkit_command, monkeypatch):
    """Calls a command: exit code and both outputs; a document for --json."""
    monkeypatch.setattr(mirror, "FRESH_SECONDS", 0.0)

    def run(*arguments, code=0):
        found, out, err = tlkit_command(*arguments)
        assert found == code, err
        for secret in (ACCESS_KEY, SECRET_KEY):
            assert secret not in out + err
        # A failed upload alone names the folder.
        assert str(stores_folder()) not in out + err
        return json.loads(out) if "--json" in arguments else out + err

    return run


def put_pictures(s3):
    for number in range(4):
        data = io.BytesIO()
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(data, "PNG")
        s3.put(f"pictures/{number}.png", data.getvalue())


@pytest.mark.slow
def test_a_run_at_a_url_with_every_command(call, s3, tmp_path, monkeypatch):
    runs = f"{s3.url}/runs"
    changes = [part for change in SMALL for part in ("--set", change)]
    document = call("run", "quickstart", *changes, "--runs", runs, "--json")
    url = document["folder"]
    assert url.startswith(f"{runs}/")
    assert document["models"] == [f"{url}/model.keras"]
    put_pictures(s3)

    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "another machine"))
    assert f"{url}/report.html" in call("report", url)
    assert call("report", runs, "--json")["file"] == f"{runs}/index.html"
    assert call("card", url, "--json")["file"] == f"{url}/README.md"
    models = f"{s3.url}/models"
    assert f"Written: {models}/model.keras" in call(
        "export", url, "--to", "keras", "--no-check", "--out", models
    )
    answers = f"{s3.url}/answers/all.csv"
    assert answers in call("predict", url, f"{s3.url}/pictures", "--out", answers)
    found = call("predict", url, f"{s3.url}/pictures/0.png", f"{s3.url}/pictures/9.png", "--json",
                 code=1)  # fmt: skip
    assert [item["path"].rsplit("/", 1)[1] for item in found["predictions"]] == ["0.png", "9.png"]
    assert f"There is no file or folder {s3.url}/pictures/9.png" in found["predictions"][1]["error"]
    explained = call("explain", url, f"{s3.url}/pictures/0.png", "--method", "occlusion", "--patch",
                     "0.5", "--stride", "0.5")  # fmt: skip
    assert f"{url}/explanations/0-occlusion.png" in explained

    child = call("run", "--from", url, "--runs", runs, "--set", "workflow.epochs=1", "--json")
    config = s3.get(f"{child['folder'].removeprefix(s3.url)[1:]}/config.toml").decode()
    assert f'start_from = "{url}"' in config
    compared = call("compare", url, child["folder"], "--output", f"{s3.url}/comparison", "--json")
    assert compared["folder"] == f"{s3.url}/comparison"
    assert [cell["folder"] for cell in compared["cells"]] == [url, child["folder"]]
    assert "is finished; there is nothing to resume" in call("resume", url, code=2)

    run = url.removeprefix(s3.url)[1:]
    assert {
        f"{run}/report.html", "runs/index.html", f"{run}/README.md", f"{run}/export/export.json",
        "models/model.keras", "answers/all.csv",
        f"{run}/explanations/0-occlusion.png", "comparison/comparison.json",
    } <= set(s3.keys())  # fmt: skip
    rows = s3.get("answers/all.csv").decode().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [
        f"{s3.url}/pictures/{number}.png" for number in range(4)
    ]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    for data in (*(path.read_bytes() for path in written), *map(s3.get, s3.keys())):
        assert ACCESS_KEY.encode() not in data
        assert SECRET_KEY.encode() not in data
    for key in s3.keys():  # noqa: SIM118
        assert os.fsencode(stores_folder()) not in s3.get(key), key


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "s3://no-such-bucket-here/runs/x", "x.png"),
        ("report", "s3://no-such-bucket-here/runs"),
        ("resume", "s3://no-such-bucket-here/runs/x"),
        ("run", "--from", "s3://no-such-bucket-here/runs/x"),
        ("run", "s3://no-such-bucket-here/config.toml"),
    ],
)
def test_a_missing_bucket_is_one_error(call, s3, arguments):
    found = call(*arguments, "--json", code=2)
    assert found["type"] == "ObjectMissingError"
    assert "s3://no-such-bucket-here/" in found["message"]
    assert call(*arguments, code=2).count("error:") == 1


@pytest.mark.parametrize("arguments", [("predict", "x.png"), ("report",), ("resume",)])
def test_keys_in_a_url_are_refused_and_not_repeated(call, s3, arguments):
    url = f"s3://{ACCESS_KEY}:{SECRET_KEY}@{s3.name}/runs"
    command, *rest = arguments
    assert "is not shown here" in call(command, url, *rest, code=2)
    assert "is not shown here" in call("run", "quickstart", "--runs", url, code=2)


def test_the_folder_of_unfinished_runs_names_them_by_their_urls(call, s3):
    s3.put("runs/20260101-000000-x/config.toml", b"")
    said = call("resume", f"{s3.url}/runs", code=2)
    assert f"tlkit resume {s3.url}/runs/20260101-000000-x" in said
