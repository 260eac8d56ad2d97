"""``python -m tlkit_mlflow RUN...``: send finished runs to MLflow, such as after an outage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tlkit import TlkitError, printable
from tlkit_mlflow.reporter import MLflowReporter


def main(arguments: Sequence[str] | None = None) -> int:
    """Send run folders; return the exit code, 0 or 1."""
    parser = argparse.ArgumentParser(prog="python -m tlkit_mlflow", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--tracking-uri", help="by default MLFLOW_TRACKING_URI")
    parser.add_argument("--experiment", help="by default MLFLOW_EXPERIMENT_NAME")
    parser.add_argument("--no-model", action="store_true", help="leave the model out")
    given = parser.parse_args(arguments)
    code = 0
    for folder in given.folders:
        try:
            reporter = MLflowReporter(
                given.tracking_uri, given.experiment, log_model=not given.no_model
            )
            print(printable(f"{folder}: {reporter.send(folder)}"))
        except TlkitError as err:
            print(printable(f"{folder}: {err}"), file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
