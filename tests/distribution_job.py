"""One worker of test_distribution.py: ``python -m tests.distribution_job FOLDER JSON``."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.tiny import Colours, make_tiny_trainer
from tlkit.builtin.heads.dense import Dense
from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain
from tlkit.errors import TlkitError
from tlkit.reporter import Reporter


class Kill(Reporter):
    """Ends the process within an epoch of fine-tuning, without a chance to say so."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_progress(self, phase: Any, epoch: int, *args: Any, **kwargs: Any) -> None:
        if phase.name == "fine-tune" and epoch == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


def make_trainer(folder: Path, settings: dict[str, Any]) -> Any:
    options = {
        "epochs": 1,
        "learning_rate": 1e-2,
        "fine_tune_epochs": 2,
        "fine_tune_learning_rate": 1e-3,
        "batch_size": 16,
        **settings.get("workflow", {}),
    }
    return make_tiny_trainer(
        folder,
        head=Dense(8),
        dataset=Colours(settings.get("count", 90)),
        workflow=FreezeAndTrain(**options),
        distribute=settings.get("distribute", "none"),
        seed=settings.get("seed", 0),
    )


def outcome(result: Any) -> dict[str, Any]:
    """Return the figures of a run and the weights of its model."""
    return {
        "history": [phase.history for phase in result.phases],
        "test": [result.test.accuracy, result.test.loss],
        "weights": [weight.tolist() for weight in result.model.get_weights()],
        "environment": result.environment,
        "warnings": list(result.warnings),
        "folder": result.folder and str(result.folder),
    }


def main() -> None:
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    if settings.get("devices", 1) > 1:
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * settings["devices"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    answers = []
    for number, one in enumerate(settings["runs"]):
        trainer = make_trainer(folder / str(number), {**settings, **one})
        if settings.get("kill"):
            trainer.listeners = [Kill(settings["kill"])]
        try:
            resumed = settings.get("resume")
            answers.append(outcome(trainer.resume(resumed) if resumed else trainer.run()))
        except TlkitError as err:
            answers.append({"error": f"{type(err).__name__}: {err}"})
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
