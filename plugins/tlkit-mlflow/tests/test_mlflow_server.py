"""Against a real MLflow server; what it holds is read back with MLflow's own client."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import mlflow
import numpy as np
import pytest
from tlkit_mlflow.__main__ import main
from tlkit_mlflow.reporter import MLflowReporter

from tlkit import ConfigError, PluginError, Workflow, compare_grid
from tlkit.builtin.reporters.files import FilesReporter
from tlkit.builtin.reporters.plots import PlotsReporter
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.features import FeatureStore

CONFIG = """
[dataset]
name = "colours"

[backbone]
name = "tiny"

[head]
name = "dense"
units = 8

[workflow]
name = "freeze_and_train"
epochs = 2
learning_rate = 0.01

[[reporters]]
name = "mlflow"
tracking_uri = "{address}"
experiment = "{experiment}"
log_model = false
"""


def of_experiment(address, name):
    """Return the client and all runs of an experiment, the first one first."""
    client = mlflow.MlflowClient(address)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return client, list(runs)


def artefacts(client, run_id, path=None):
    found = []
    for item in client.list_artifacts(run_id, path):
        found += artefacts(client, run_id, item.path) if item.is_dir else [item.path]
    return sorted(found)


def history(client, run, key):
    found = sorted(client.get_metric_history(run.info.run_id, key), key=lambda item: item.step)
    return {item.step: item.value for item in found}


def test_a_run_is_there_whole(server, make_trainer, capfd):
    reporter = MLflowReporter(server, "whole", tags={"team": "vision"})
    workflow = FreezeAndTrain(epochs=2, learning_rate=1e-2, fine_tune_epochs=2)
    trainer = make_trainer(
        PlotsReporter(), FilesReporter(), reporter, workflow=workflow, name="one"
    )
    result = trainer.run()
    assert result.warnings == ()
    assert server not in capfd.readouterr().out  # stdout may be JSON
    client, (run,) = of_experiment(server, "whole")
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    assert run.data.tags["team"] == "vision"
    assert run.data.tags["tlkit.phases"] == "frozen 1 to 2, fine-tune 3 to 4"
    for key, value in result.info.settings.items():
        assert run.data.params[key] == str(value)
    assert run.data.params["data.train_images"] == "81"
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        expected = [value for phase in result.phases for value in phase.history[key]]
        found = history(client, run, key)
        assert list(found) == [1, 2, 3, 4]
        assert list(found.values()) == pytest.approx(expected)
    metrics = run.data.metrics
    assert metrics["test_accuracy"] == result.accuracy
    interval = (metrics["test_accuracy_low"], metrics["test_accuracy_high"])
    assert interval == result.test.accuracy_interval
    assert metrics["recall/green_blue_"] == result.test.classes[1].recall
    data = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert {name: item.digest for name, item in data.items()} == {
        "training": result.fingerprints["train"][:36],
        "test": result.fingerprints["test"][:36],
    }
    files = artefacts(client, run.info.run_id)
    on_disk = {
        path.relative_to(result.folder).as_posix()
        for path in result.folder.rglob("*")
        if path.is_file() and path.name not in ("model.keras", "mlflow.json", "run.json")
    } - {"test_images.zip"}
    assert set(files) == on_disk
    assert "plots/confusion_matrix.png" in files
    link = json.loads((result.folder / "mlflow.json").read_text())
    assert link["url"].startswith(f"{server}/#/experiments/")
    assert (link["run_id"], link["complete"]) == (run.info.run_id, True)


def test_the_logged_model_has_a_signature_and_predicts_the_same(server, make_trainer):
    result = make_trainer(MLflowReporter(server, "model", registered_model_name="colours")).run()
    _, (run,) = of_experiment(server, "model")
    mlflow.set_tracking_uri(server)
    for uri in (f"runs:/{run.info.run_id}/model", "models:/colours/1"):
        loaded = mlflow.pyfunc.load_model(uri)
        images = result.test_images
        found = loaded.predict(images)
        np.testing.assert_allclose(found, result.test.probabilities, rtol=1e-4, atol=1e-6)
    saved = keras.models.load_model(result.folder / "model.keras")
    np.testing.assert_array_equal(found, saved.predict(images, verbose=0))
    (pixels,), (probabilities,) = (
        loaded.metadata.signature.inputs,
        loaded.metadata.signature.outputs,
    )
    assert (pixels.type, pixels.shape) == (np.dtype("uint8"), (-1, -1, -1, 3))
    assert (probabilities.type, probabilities.shape) == (np.dtype("float32"), (-1, 3))
    assert loaded.metadata.metadata["class_names"] == list(result.info.class_names)
    needed = mlflow.pyfunc.get_model_dependencies(uri)
    lines = Path(needed).read_text().splitlines()
    assert f"keras=={keras.__version__}" in lines
    assert not [line for line in lines if line.startswith("tlkit")]
    with pytest.raises(mlflow.MlflowException, match="float"):
        loaded.predict(images.astype(np.float64))


def test_environment_variables_say_where(server, make_trainer, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by-environment")
    mlflow.MlflowClient(server).create_experiment("by-environment")
    make_trainer(MLflowReporter(log_model=False)).run()
    _, (run,) = of_experiment(server, "by-environment")
    assert run.info.status == "FINISHED"


def test_a_run_that_the_caller_opened_becomes_the_parent_and_stays_open(server, make_trainer):
    mlflow.set_tracking_uri(server)
    mlflow.set_experiment("opened")
    with mlflow.start_run() as opened:
        make_trainer(MLflowReporter(log_model=False)).run()
        assert mlflow.active_run().info.run_id == opened.info.run_id
    _, runs = of_experiment(server, "opened")
    (child,) = [run for run in runs if run.info.run_id != opened.info.run_id]
    assert child.data.tags["mlflow.parentRunId"] == opened.info.run_id


def test_the_caller_keeps_the_tracking_uri(server, make_trainer, tmp_path):
    store = f"sqlite:///{tmp_path / 'own.db'}"
    mlflow.set_tracking_uri(store)
    make_trainer(MLflowReporter(server, "uri", log_model=False)).run()
    assert mlflow.get_tracking_uri() == store
    assert mlflow.active_run() is None


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (None, "FAILED")])
def test_a_run_that_ends_early_is_marked(server, make_trainer, error, status):
    class Breaks(FreezeAndTrain):
        name = "breaks"

        def run(self, session):
            super().run(session)
            raise error() if error else ValueError("no\nluck")

    reporter = MLflowReporter(server, status, log_model=False)
    with pytest.raises(error or PluginError):
        make_trainer(reporter, workflow=Breaks(epochs=2)).run()
    client, (run,) = of_experiment(server, status)
    assert run.info.status == status
    assert list(history(client, run, "loss")) == [1, 2]
    told = run.data.tags.get("tlkit.error")
    assert told is None if error else told.endswith("failed in run(): ValueError: no")
    assert mlflow.active_run() is None


def test_a_comparison_is_a_parent_with_a_child_for_each_cell(server, registry, tmp_path):
    config = tmp_path / "grid.toml"
    config.write_text(CONFIG.format(address=server, experiment="grid"))

    def run(heads):
        return compare_grid(
            config,
            heads=heads,
            output=tmp_path / "grid",
            store=FeatureStore(tmp_path / "features"),
            registry=registry,
        )

    comparison = run(["linear", "dense"])
    client, runs = of_experiment(server, "grid")
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert parent.info.run_name == "grid"
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [child.info.run_name for child in children] == ["tiny-linear-seed0", "tiny-dense-seed0"]
    assert [child.data.metrics["test_accuracy"] for child in children] == [
        cell.figures.accuracy for cell in comparison.cells
    ]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.metrics["cells"] == 2
    assert (
        f"{100 * comparison.cells[0].figures.accuracy:.1f} %"
        in (parent.data.tags["mlflow.note.content"])
    )
    files = artefacts(client, parent.info.run_id)
    assert {"comparison.json", "comparison.csv", "comparison.png"} <= set(files)
    # Going on adds a child to the same parent, and sends nothing twice.
    run(["linear", "dense", "prototype"])
    _, runs = of_experiment(server, "grid")
    names = [item.info.run_name for item in runs]
    assert names == ["grid", "tiny-linear-seed0", "tiny-dense-seed0", "tiny-prototype-seed0"]
    assert runs[-1].data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert runs[0].data.metrics["cells"] == 3
    assert runs[0].info.status == "FINISHED"


def test_cells_that_the_server_missed_are_sent_in_the_end(server, registry, tmp_path):
    config = tmp_path / "late.toml"
    text = CONFIG.format(address=server, experiment="late")
    arguments = {
        "heads": ["linear", "prototype"],
        "output": tmp_path / "late",
        "store": FeatureStore(tmp_path / "features"),
        "registry": registry,
    }
    config.write_text("reporters = []\n" + text.partition("[[reporters]]")[0])
    comparison = compare_grid(config, **arguments)
    config.write_text(text)
    compare_grid(config, **arguments)
    client, runs = of_experiment(server, "late")
    parent, *children = runs
    assert [child.info.run_name for child in children] == [
        "tiny-linear-seed0",
        "tiny-prototype-seed0",
    ]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert children[0].data.metrics["test_accuracy"] == comparison.cells[0].figures.accuracy
    assert list(history(client, children[0], "loss")) == [1, 2]


def test_an_unreachable_server_costs_seconds_and_loses_nothing(
    free_address, make_trainer, new_server, capsys
):
    begin = time.monotonic()
    with pytest.warns(RuntimeWarning, match="did not take the run") as caught:
        result = make_trainer(MLflowReporter(free_address, "lost")).run()
    assert time.monotonic() - begin < 60
    assert sum("tried again at the end" in str(item.message) for item in caught) == 1
    (warning,) = result.warnings
    assert f"MLflow at {free_address} did not take the run: ConnectionRefusedError" in warning
    assert f"python -m tlkit_mlflow {result.folder}" in warning
    assert (result.folder / "run.json").is_file()
    assert mlflow.active_run() is None
    assert main([str(result.folder), "--tracking-uri", free_address, "--no-model"]) == 1
    assert "did not take the run" in capsys.readouterr().err
    new_server(free_address)
    # Where to is in the run's config.
    assert main([str(result.folder)]) == 0
    assert free_address in capsys.readouterr().out
    assert main([str(result.folder)]) == 0
    assert "is there already" in capsys.readouterr().out
    client, (run,) = of_experiment(free_address, "lost")
    assert run.data.metrics["test_accuracy"] == result.accuracy
    assert list(history(client, run, "val_loss")) == [1, 2]
    assert "run.json" in artefacts(client, run.info.run_id)
    mlflow.set_tracking_uri(free_address)
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    np.testing.assert_allclose(
        loaded.predict(result.test_images), result.test.probabilities, rtol=1e-4, atol=1e-6
    )


def test_a_server_that_never_answers_does_not_hang_the_run(make_trainer, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # the user's own wish is respected
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.warns(RuntimeWarning, match="did not take the run"):
            result = make_trainer(MLflowReporter(address)).run()
        assert time.monotonic() - begin < 60
    assert (result.folder / "run.json").is_file()
    assert "timed out" in result.warnings[0]


def test_figures_of_an_outage_are_sent_when_it_is_over(server, make_trainer, monkeypatch):
    import requests

    send, calls = requests.Session.request, []

    def request(self, method, url, **kwargs):
        calls.append(url)
        # Down while the first epoch is sent.
        if "log-batch" in url and len([x for x in calls if "log-batch" in x]) == 2:
            raise requests.exceptions.ConnectionError("down")
        return send(self, method, url, **kwargs)

    monkeypatch.setattr(requests.Session, "request", request)
    with pytest.warns(RuntimeWarning, match="tried again at the end"):
        result = make_trainer(MLflowReporter(server, "outage", log_model=False)).run()
    assert result.warnings == ()
    client, (run,) = of_experiment(server, "outage")
    assert list(history(client, run, "loss")) == [1, 2]


def test_without_a_server_runs_are_kept_in_a_file(make_trainer, tmp_path):
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    result = make_trainer(MLflowReporter(store, "local")).run()
    assert result.warnings == ()
    _, (run,) = of_experiment(store, "local")
    assert run.data.metrics["test_accuracy"] == result.accuracy
    assert json.loads((result.folder / "mlflow.json").read_text())["url"] == ""


def test_a_password_in_the_address_is_refused_before_it_is_saved():
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        MLflowReporter("http://me:secret@127.0.0.1:5000")
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_TOKEN"):
        MLflowReporter("https://TOKEN@host")
    with pytest.raises(ConfigError, match="log_model"):
        MLflowReporter(log_model=False, registered_model_name="x")


def test_listing_plugins_does_not_import_mlflow():
    code = (
        "import sys; from tlkit_mlflow.reporter import MLflowReporter; MLflowReporter();"
        "print([m for m in ('mlflow', 'tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_interrupted_comparison_is_killed_and_goes_on_in_the_same_parent(
    server, registry, tmp_path
):
    stop = tmp_path / "stop"
    stop.touch()

    class Interrupted(Workflow):
        name = "interrupted"

        def run(self, session):
            session.train_head(epochs=2, optimizer=keras.optimizers.Adam(0.01))
            if stop.exists() and session.head.name == "prototype":
                raise KeyboardInterrupt

    registry.register(Interrupted)
    config = tmp_path / "grid.toml"
    text = CONFIG.format(address=server, experiment="stopped")
    workflow = 'name = "freeze_and_train"\nepochs = 2\nlearning_rate = 0.01'
    config.write_text(text.replace(workflow, 'name = "interrupted"'))

    def run():
        return compare_grid(
            config,
            heads=["linear", "prototype"],
            output=tmp_path / "out",
            store=FeatureStore(tmp_path / "features"),
            registry=registry,
        )

    with pytest.raises(KeyboardInterrupt):
        run()
    _, runs = of_experiment(server, "stopped")
    assert [item.info.status for item in runs] == ["KILLED", "FINISHED", "KILLED"]
    assert mlflow.active_run() is None
    stop.unlink()
    assert not run().failed
    _, runs = of_experiment(server, "stopped")
    assert [item.info.status for item in runs] == ["FINISHED", "FINISHED", "KILLED", "FINISHED"]
    parents = {item.data.tags.get("mlflow.parentRunId") for item in runs[1:]}
    assert parents == {runs[0].info.run_id}
