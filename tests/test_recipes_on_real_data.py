"""The recipes on real CIFAR-10 with real ImageNet weights."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def run(folder, *arguments, runs="runs"):
    done = subprocess.run(
        [sys.executable, "-m", "tlkit", "run", *arguments, "--runs", str(folder / runs)],
        cwd=folder,
        env={**os.environ, "TLKIT_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(next((folder / runs).glob("*/run.json")).read_text())
    return record, done.stdout


def test_classic_lands_within_2_points_of_the_original(real_data_home, tmp_path):
    data = f"dataset.path={real_data_home / 'cifar10.npz'}"
    record, output = run(tmp_path, "classic", "--set", data)
    assert abs(record["test"]["accuracy"] - 0.338) < 0.02
    assert "Test accuracy" in output
    assert "Validated on the test set" in " ".join(output.split())
    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in folder.rglob("*")}
    assert {"model.keras", "model.h5", "curves.png", "confusion_matrix.png"} <= names


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
def test_cifar10_reaches_79_percent_on_lossless_pictures(real_data_home, tmp_path, backbone):
    if backbone != "mobilenet_v2":
        pytest.importorskip("tlkit_efficientnet_lite")
    record, _ = run(
        tmp_path,
        "cifar10",
        "--set", f"dataset.path={real_data_home / 'cifar10-lossless.npz'}",
        "--set", "backbone.image_size=128",
        "--set", f"backbone.name={backbone}",
    )  # fmt: skip
    assert record["test"]["accuracy"] >= 0.79


def test_a_solved_head_and_fine_tuning_beat_the_dense_head_at_96_pixels(real_data_home, tmp_path):
    accuracies = []
    for number, changes in enumerate(
        (
            (),
            ("head.name=logistic",),
            ("head.name=logistic", "workflow.fine_tune_epochs=3"),
        )
    ):
        record, _ = run(
            tmp_path,
            "cifar10",
            "--set", f"dataset.path={real_data_home / 'cifar10-lossless.npz'}",
            *(part for change in changes for part in ("--set", change)),
            runs=f"runs-{number}",
        )  # fmt: skip
        accuracies.append(record["test"]["accuracy"])
    dense, logistic, tuned = accuracies
    assert logistic >= dense - 0.01
    assert tuned >= max(dense, logistic) + 0.03
