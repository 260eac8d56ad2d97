"""The job that test_crash_safety.py kills: ``python -m tests.crash_job`` reads requests as JSON."""

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

# Several shards for a tiny data set.
SHARD_BYTES = 2048
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def job(folder: Path, resumed: Path | None) -> None:
    """Train, fine-tune, test, save and report in a folder of its own."""
    from tests.tiny import Colours, make_tiny_trainer
    from tlkit.builtin.heads.mlp import MLP
    from tlkit.builtin.reporters.files import FilesReporter
    from tlkit.builtin.workflows.freeze_and_train import FreezeAndTrain

    trainer = make_tiny_trainer(
        folder,
        head=MLP([8]),
        dataset=Colours(240),
        workflow=FreezeAndTrain(
            epochs=3, learning_rate=1e-2, fine_tune_epochs=3, unfreeze=1, mixup=0.2, ema=0.9
        ),
        reporters=[FilesReporter()],
        save=["keras", "h5"],
    )
    if resumed is None:
        trainer.run()
    else:
        trainer.resume(resumed)


def count_operations(folder: Path, kill_at: int) -> list[int]:
    """Count the operations on files in a folder; kill this process at one of them."""
    seen = [0]

    def count(event, arguments):
        if event in EVENTS and str(arguments[0]).startswith(str(folder)):
            seen[0] += 1
            if seen[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    return seen


def run_in_child(folder: Path, resumed: Path | None, kill_at: int, seconds: float) -> int:
    """Run the job in a child; return its exit code, negative for a signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            os.dup2(2, 1)
            seen = count_operations(folder, kill_at)
            job(folder, resumed)
            (folder.parent / f"{folder.name}.operations").write_text(str(seen[0]))
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    timer = threading.Timer(seconds, os.kill, (child, signal.SIGKILL))
    if seconds:
        timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    # Imported here once; nothing is computed before the fork, so that no thread exists yet.
    import keras  # noqa: F401
    import sklearn.metrics  # noqa: F401

    from tlkit import shards, trainer  # noqa: F401

    shards.SHARD_BYTES = SHARD_BYTES
    for line in sys.stdin:
        folder, resumed, kill_at, seconds = json.loads(line)
        code = run_in_child(Path(folder), resumed and Path(resumed), kill_at, seconds)
        print(json.dumps(code), flush=True)


if __name__ == "__main__":
    main()
