"""A real MLflow server on the loopback address, and small runs to send to it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tlkit import Backbone, DatasetSource, ImageData, Registry, Split, Trainer
from tlkit.features import FeatureStore

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytest.importorskip("mlflow", reason="pip install tlkit-mlflow")

from tlkit_mlflow.reporter import MLflowReporter

START_SECONDS = 180
CLASS_NAMES = ("red", "green/blue?", "blue")


class Tiny(Backbone):
    """Two convolutions."""

    name = "tiny"

    def __init__(self, image_size: int = 16, weights: str = "random") -> None:
        super().__init__(image_size, weights)

    def build(self):
        import keras

        x = inputs = keras.Input((self.image_size, self.image_size, 3))
        for width in (8, 16):
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        return keras.Model(inputs, x)

    def preprocess(self, images):
        import keras

        return keras.layers.Rescaling(1 / 255)(images)


class Colours(DatasetSource):
    """Noise in three colours."""

    name = "colours"

    def load(self, seed: int) -> ImageData:
        return ImageData(_split(90), _split(30), CLASS_NAMES)


def _split(count: int) -> Split:
    labels = np.arange(count) % 3
    images = np.random.default_rng(count).integers(0, 120, (count, 12, 12, 3))
    images[np.arange(count), :, :, labels] += 100
    return Split(images.astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(autouse=True)
def _own_tlkit_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TLKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _mlflow_as_it_was(monkeypatch, tmp_path):
    """No setting of the user's, and none that another test left behind."""
    import mlflow

    for key in [key for key in os.environ if key.startswith("MLFLOW_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)  # MLflow's own store is a file of the current folder
    mlflow.set_tracking_uri(None)
    # What set_experiment() chose; there is no public way to choose none.
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> str:
    """The address of a server with a SQLite store, stopped in the end."""
    folder = tmp_path_factory.mktemp("mlflow")
    address = f"http://127.0.0.1:{free_port()}"
    process = start_server(folder, address)
    try:
        wait_for(process, address, folder)
        yield address
    finally:
        stop(process)


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def start_server(folder: Path, address: str) -> subprocess.Popen[bytes]:
    port = address.rpartition(":")[2]
    store, files = f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port),
        *("--backend-store-uri", store, "--artifacts-destination", files, "--workers", "1"),
    ]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | settings
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )


def wait_for(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"No MLflow server: {(folder / 'server.log').read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, which are a process group of their own.

    They are not asked to: a server waits long for its clients' open connections, and what it holds
    goes with the test's folder.
    """
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)


@pytest.fixture
def make_trainer(tmp_path):
    def make(*reporters, **changes):
        from tlkit.builtin.heads.dense import Dense
        from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain

        arguments = {
            "backbone": Tiny(),
            "head": Dense(8),
            "dataset": Colours(),
            "workflow": FreezeAndTrain(epochs=2, learning_rate=1e-2),
            "reporters": list(reporters),
            "runs": tmp_path / "runs",
            "store": FeatureStore(tmp_path / "features"),
            "registry": Registry(entry_points=False),
        }
        return Trainer(**(arguments | changes))

    return make


@pytest.fixture
def registry():
    found = Registry(entry_points=False)
    for plugin in (Tiny, Colours, MLflowReporter):
        found.register(plugin)
    return found


@pytest.fixture
def free_address() -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def new_server(tmp_path):
    """Start more servers at given addresses; all are stopped in the end."""
    started = []

    def start(address: str) -> None:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        started.append(start_server(folder, address))
        wait_for(started[-1], address, folder)

    yield start
    for process in started:
        stop(process)
