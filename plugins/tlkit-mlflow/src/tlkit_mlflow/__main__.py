"""``python -m tlkit_mlflow RUN...``: send finished runs to MLflow, such as after an outage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tlkit import TlkitError, load_run, printable
from tlkit_mlflow.reporter import MLflowReporter


def main(arguments: Sequence[str] | None = None) -> int:
    """Send run folders; return the exit code, 0 or 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tlkit_mlflow",
        description="Send finished runs to MLflow, as their config's mlflow reporter would have.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--tracking-uri", help="another server than the config's")
    parser.add_argument("--experiment", help="another experiment than the config's")
    parser.add_argument("--no-model", action="store_true", help="leave the model out")
    parser.add_argument("--again", action="store_true", help="also what the server has already")
    given = parser.parse_args(arguments)
    code = 0
    for folder in given.folders:
        try:
            print(printable(f"{folder}: {_send(folder, given)}"))
        except TlkitError as err:
            print(printable(f"{folder}: {err}"), file=sys.stderr)
            code = 1
    return code


def _send(folder: Path, given: argparse.Namespace) -> str:
    tables = load_run(folder).info.config.get("reporters", ())
    options = dict(next((item for item in tables if item.get("name") == "mlflow"), {}))
    options.pop("name", None)
    changes = {"tracking_uri": given.tracking_uri, "experiment": given.experiment}
    options |= {key: value for key, value in changes.items() if value is not None}
    if given.no_model:
        options |= {"log_model": False, "registered_model_name": None}
    reporter = MLflowReporter(**options)
    known = reporter.sent(folder)
    if known is not None and not given.again:
        return f"is there already: {known}"
    above = folder.resolve().parent.parent
    comparison = above if (above / "comparison.json").is_file() else None
    return reporter.send(folder, comparison)


if __name__ == "__main__":
    sys.exit(main())
