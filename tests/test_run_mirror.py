"""Runs at a URL: they go on wherever they were killed, and end as local ones do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.s3_server import ACCESS_KEY, SECRET_KEY
from tests.tiny import make_tiny_trainer
from tlkit import Reporter, load_model, load_run, mirror, run_claim, run_folder, run_mirror
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.errors import DataError, RunFolderError, StoreFailedError
from tlkit.object_store import ObjectStore
from tlkit.paths import stores_folder, url_of

JOB = """
import sys
from pathlib import Path
from tests.test_run_mirror import Killed, make_run
make_run(Path(sys.argv[1]), sys.argv[2], reporters=[Killed()]).run()
"""


def make_run(folder: Path, runs: str, **changes: Any) -> Any:
    workflow = FreezeAndTrain(epochs=4, learning_rate=1e-2)
    return make_tiny_trainer(folder, runs=runs, workflow=workflow, **changes)


class Killed(Reporter):
    """Kills the process once the state after an epoch is in the store."""

    name: ClassVar[str] = "killed"

    def on_run_begin(self, run, **kwargs):
        self.folder = run.folder

    def on_epoch_end(self, phase, epoch, metrics, seconds, **kwargs):
        if epoch < 3:
            time.sleep(1.1)  # states are kept so often
            return
        store = ObjectStore(url_of(self.folder))
        while store.find(".checkpoint/phase-1.npz") is None:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)


class AtEpoch(Reporter):
    """Does something at the end of each epoch."""

    name: ClassVar[str] = "at_epoch"

    def __init__(self, action: Any) -> None:
        self.action = action

    def on_epoch_end(self, phase, epoch, metrics, seconds, **kwargs):
        self.action(epoch)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(mirror, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(run_mirror, "SECONDS_BETWEEN", 0.05)
    monkeypatch.setattr(run_mirror, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(run_claim, "LEASE_SECONDS", 0.3)


def names_at(s3: Any) -> list[str]:
    return [key.split("/", 2)[2] for key in s3.keys()]  # noqa: SIM118


def on_another_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "another"))


def test_a_run_at_a_url_is_that_of_a_folder(s3, tmp_path, monkeypatch):
    result = make_run(tmp_path, f"{s3.url}/runs").run()
    local = make_run(tmp_path, str(tmp_path / "runs")).run()
    found = {path.relative_to(local.folder).as_posix() for path in local.folder.rglob("*")}
    assert set(names_at(s3)) == {name for name in found if (local.folder / name).is_file()}
    record = json.loads(s3.get(next(key for key in s3.keys() if key.endswith("run.json"))))  # noqa: SIM118
    url = url_of(result.folder)
    assert record["info"]["folder"] == url

    on_another_machine(tmp_path, monkeypatch)
    again = load_run(url)
    assert again.folder != result.folder
    np.testing.assert_array_equal(again.test.probabilities, local.test.probabilities)
    assert load_model(url).count_params() == result.model.count_params()


def test_neither_key_is_written_or_said_anywhere(s3, tmp_path, capsys):
    result = make_run(tmp_path, f"{s3.url}/runs", reporters=["rich", "files", "html"]).run()
    output = "".join(capsys.readouterr())
    assert url_of(result.folder).rsplit("/", 1)[1] in output.replace("\n", "")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    for secret in (ACCESS_KEY, SECRET_KEY):
        assert secret not in output
        for data in (*(path.read_bytes() for path in files), *map(s3.get, s3.keys())):
            assert secret.encode() not in data


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
def test_a_killed_run_goes_on_elsewhere_with_an_empty_cache(s3, tmp_path, monkeypatch):
    first = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "first"), f"{s3.url}/runs"],
        env={**os.environ, "TLKIT_CACHE": str(tmp_path / "first"), "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        timeout=120,
    )
    assert first.returncode == -signal.SIGKILL, first.stderr.decode()
    names = names_at(s3)
    assert ".checkpoint/phase-1.npz" in names
    assert "run.json" not in names
    folder = next(key for key in s3.keys()).split("/")[1]  # noqa: SIM118
    url = f"{s3.url}/runs/{folder}"
    on_another_machine(tmp_path, monkeypatch)
    result = make_run(tmp_path / "second", f"{s3.url}/runs").resume(url)
    assert url_of(result.folder) == url
    assert any("goes on after epoch" in note for note in result.info.notes)
    whole = make_run(tmp_path / "whole", str(tmp_path / "runs")).run()
    np.testing.assert_array_equal(result.test.probabilities, whole.test.probabilities)
    assert not [name for name in names_at(s3) if name.startswith(".")]
    assert "run.json" in names_at(s3)
    with pytest.raises(RunFolderError, match=r"The run in s3://.* is finished"):
        make_run(tmp_path, f"{s3.url}/runs").resume(url)


def test_two_machines_in_one_second_make_two_folders(s3, tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda *args: "20260101-000000")
    first, claim = run_mirror.create(mirror.local_place(f"{s3.url}/runs"), "run")
    on_another_machine(tmp_path, monkeypatch)
    second, _ = run_mirror.create(mirror.local_place(f"{s3.url}/runs"), "run")
    assert (first.name, second.name) == ("20260101-000000-run", "20260101-000000-run-2")
    assert [path.name for path in second.parent.iterdir()] == [second.name]
    assert claim.number == 1


def test_a_store_that_fails_for_a_while_loses_nothing(s3, tmp_path, monkeypatch):
    real, failing = ObjectStore.upload, []

    def upload(self, *args, **kwargs):
        if failing:
            raise StoreFailedError("Cannot write there: it is down.")
        return real(self, *args, **kwargs)

    def fail_in_between(epoch):
        failing[:] = [1] if epoch in (1, 2) else []
        time.sleep(0.3)

    monkeypatch.setattr(ObjectStore, "upload", upload)
    # More often than one second, so that there is something to upload after each epoch.
    monkeypatch.setattr("tlkit.checkpoint.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("tlkit.checkpoint._REST", 0)
    result = make_run(tmp_path, f"{s3.url}/runs", reporters=[AtEpoch(fail_in_between)]).run()
    assert [text for text in result.warnings if "it is down. The run goes on" in text]
    assert "run.json" in names_at(s3)


def test_a_run_whose_end_could_not_be_uploaded_is_uploaded_later(s3, tmp_path, monkeypatch):
    def fail(self, *args, **kwargs):
        raise StoreFailedError("Cannot write there: it is down.")

    def from_now_on(epoch):
        patch.setattr(ObjectStore, "upload", fail)

    with monkeypatch.context() as patch:
        trainer = make_run(tmp_path, f"{s3.url}/runs", reporters=[AtEpoch(from_now_on)])
        with pytest.raises(StoreFailedError, match="it is down") as caught:
            trainer.run()
    message = str(caught.value)
    folder = next(stores_folder().glob("s3/*/runs/*"))
    assert str(stores_folder()) in message
    assert str(folder.relative_to(stores_folder())) in message
    assert caught.value.exit_code == 1
    url = url_of(folder)
    assert caught.value.__notes__[0].endswith(f"tlkit resume {url}")
    assert "run.json" not in names_at(s3)
    assert run_mirror.finish_upload(url) == folder
    assert {"run.json", "model.keras"} <= set(names_at(s3))
    assert not [name for name in names_at(s3) if name.startswith(".")]
    assert run_mirror.finish_upload(url) is None


def test_a_run_that_was_taken_over_writes_no_more(s3, tmp_path, monkeypatch):
    monkeypatch.setattr(run_mirror, "RENEW_SECONDS", 0.0)

    def take_over(epoch):
        if epoch == 1:
            store = ObjectStore(url_of(next(stores_folder().glob("s3/*/runs/*"))))
            store.write(".tlkit-claim/000002", b"another machine's")
            time.sleep(0.5)

    trainer = make_run(tmp_path, f"{s3.url}/runs", reporters=[AtEpoch(take_over)])
    with pytest.raises(StoreFailedError, match=r"Another machine took s3://.* over"):
        trainer.run()
    assert "run.json" not in names_at(s3)
    assert ".tlkit-claim/000002" in names_at(s3)


def test_a_run_that_is_refused_leaves_nothing_at_the_url(s3, tmp_path):
    class Refused(Reporter):
        name: ClassVar[str] = "refused"

    trainer = make_run(tmp_path, f"{s3.url}/runs")

    def run(session):
        time.sleep(0.3)
        raise DataError("no")

    trainer.workflow.run = run
    with pytest.raises(DataError):
        trainer.run()
    assert s3.keys() == []
    assert list(stores_folder().glob("s3/*/runs/*")) == []


def test_a_url_without_a_bucket_ends_the_run_before_it_trains(s3, tmp_path):
    begun: list[int] = []
    trainer = make_run(tmp_path, "s3://no-such-bucket-here/runs", reporters=[AtEpoch(begun.append)])
    with pytest.raises(run_mirror.ObjectStoreError, match="no such bucket"):
        trainer.run()
    assert begun == []
    assert list(stores_folder().glob("s3/*/runs/*")) == []


def test_a_run_may_start_from_one_at_a_url(s3, tmp_path, monkeypatch):
    parent = url_of(make_run(tmp_path, f"{s3.url}/runs").run().folder)
    on_another_machine(tmp_path, monkeypatch)
    child = make_run(tmp_path, str(tmp_path / "runs"), start_from=parent).run()
    assert child.info.config["run"]["start_from"] == parent
    assert f'start_from = "{parent}"' in (child.folder / "config.toml").read_text()
    assert child.info.lineage.ancestors[0].folder
    assert str(stores_folder()) not in (child.folder / "run.json").read_text()


def test_a_copy_that_was_deleted_is_fetched_again(s3, tmp_path):
    folder = make_run(tmp_path, f"{s3.url}/runs").run().folder
    url = url_of(folder)
    shutil.rmtree(folder)
    assert load_run(url).folder == folder
    assert run_folder.model_path(url).is_file()
