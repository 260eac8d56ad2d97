"""Fine-tuning on several devices and machines: the figures of one, and lost workers."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

SECONDS = 180
# 81 training images in batches of 16: the last batch has one image, fewer than devices.
KINDS = [
    {"workflow": {"mixup": 0.2, "cutmix": 0.2, "label_smoothing": 0.1}},
    {
        "workflow": {
            "augment": True,
            "ema": 0.9,
            "layer_decay": 0.5,
            "unfreeze_every": 1,
            "class_weight": "balanced",
        }
    },
    {"workflow": {"unfreeze": 1}},
]

pytestmark = pytest.mark.slow


class Workers:
    """Processes on loopback that are ended whatever happens."""

    def __init__(self):
        self.processes = []

    def start(self, folder, settings, config=None, **variables):
        folder.mkdir(exist_ok=True)
        environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", **variables}
        environment.pop("TF_CONFIG", None)
        if config is not None:
            environment["TF_CONFIG"] = config
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.distribution_job", str(folder), json.dumps(settings)],
            env=environment,
            stderr=subprocess.PIPE,
        )
        process.folder = folder
        self.processes.append(process)
        return process

    def pair(self, folder, settings, second=None, **variables):
        folder.mkdir(exist_ok=True)
        addresses = free_addresses(2)
        return [
            self.start(folder / f"worker-{index}", one, make_config(addresses, index), **variables)
            for index, one in enumerate((settings, second or settings))
        ]

    def close(self):
        for process in self.processes:
            process.kill()
            process.communicate()


def free_addresses(count):
    held = [socket.socket() for _ in range(count)]
    for item in held:
        item.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{item.getsockname()[1]}" for item in held]
    for item in held:
        item.close()
    return addresses


def make_config(addresses, index):
    return json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    )


def answers(process):
    _, errors = process.communicate(timeout=SECONDS)
    path = process.folder / "answers.json"
    assert path.exists(), errors.decode()[-3000:]
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def workers():
    made = Workers()
    yield made
    made.close()


@pytest.fixture(scope="module")
def runs(workers, tmp_path_factory):
    """The same runs in one process, on two devices of one process, and in two processes."""
    folder = tmp_path_factory.mktemp("runs")
    mirrored = [{**kind, "distribute": "mirrored"} for kind in KINDS]
    alone = workers.start(folder / "alone", {"runs": [*KINDS, *mirrored], "devices": 2})
    both = answers(alone)
    pair = workers.pair(folder / "pair", {"runs": KINDS, "distribute": "multi_worker"})
    found = {
        "one": [both[: len(KINDS)]],
        "mirrored": [both[len(KINDS) :]],
        "multi_worker": [answers(item) for item in pair],
    }
    return found


def assert_close(found, expected):
    for phase, right in zip(found["history"], expected["history"], strict=True):
        assert phase.keys() == right.keys()
        for key, values in right.items():
            np.testing.assert_allclose(phase[key], values, atol=1e-5, err_msg=key)
    for weight, right in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(weight, right, atol=1e-4)
    np.testing.assert_allclose(found["test"], expected["test"], atol=1e-5)


@pytest.mark.parametrize("kind", ["mirrored", "multi_worker"])
@pytest.mark.parametrize("number", range(len(KINDS)))
def test_devices_that_share_batches_give_the_figures_of_one(runs, kind, number):
    for found in runs[kind]:
        assert "error" not in found[number], found[number]
        assert found[number]["environment"]["devices"] == "2"
        assert_close(found[number], runs["one"][0][number])


@pytest.fixture(scope="module")
def killed(workers, tmp_path_factory):
    """Two workers of which the second was killed within an epoch, and both resumed."""
    folder = tmp_path_factory.mktemp("killed")
    settings = {"runs": [KINDS[2]], "distribute": "multi_worker"}
    chief, other = workers.pair(folder, settings, {**settings, "kill": 2})
    _, errors = other.communicate(timeout=SECONDS)
    assert other.returncode == -signal.SIGKILL, errors.decode()[-3000:]
    (first,) = answers(chief)
    (run,) = (folder / "worker-0" / "0" / "runs").iterdir()
    # The other worker has no copy of the run: it gets the state from the chief.
    pair = workers.pair(folder, {**settings, "resume": str(run)}, settings)
    return first, run, [answers(item)[0] for item in pair]


def test_a_killed_worker_ends_the_others_with_what_goes_on(killed):
    first, _, _ = killed
    assert first["error"].startswith("WorkerLostError: Worker 0 lost another worker (1 at 127.")
    assert "tlkit resume RUN" in first["error"]


def test_resumed_workers_end_as_if_uninterrupted(killed, runs):
    _, run, found = killed
    assert (run / "run.json").exists()
    whole = runs["multi_worker"][0][2]
    assert found[0]["folder"] == str(run)
    assert found[1]["folder"] is None
    for item in found:
        assert item["history"][1] == whole["history"][1]
        assert item["weights"] == whole["weights"]
