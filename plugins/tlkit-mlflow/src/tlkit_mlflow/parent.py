"""The run in MLflow that the cells of a comparison lie in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit import printable
from tlkit_mlflow.server import LINK, make_link, read_link, write_link

if TYPE_CHECKING:
    from tlkit.compare.records import Comparison

_NOTE, _NOTE_LIMIT = "mlflow.note.content", 7500


def find_or_make_parent(
    comparison: Path, experiment: str | None, name: str | None, tags: dict[str, str]
) -> tuple[str, bool]:
    """Return the parent's id, and whether it is the comparison's own.

    A run that the caller has opened is taken; else the comparison's folder knows which it was, so
    that one that goes on later goes on there.

    Args:
        comparison: The folder of the comparison; it exists.
        experiment: Id of the experiment; None for MLflow's own choice.
        name: Name of a new parent; by default that of the folder.
        tags: Tags of a new parent.
    """
    import mlflow

    active = mlflow.active_run()
    if active is not None:
        return active.info.run_id, False
    client, uri = mlflow.MlflowClient(), mlflow.get_tracking_uri()
    link = read_link(comparison, uri)
    if link is not None and _is_there(client, link.run_id, experiment):
        client.update_run(link.run_id, status="RUNNING")
        return link.run_id, True
    with mlflow.start_run(
        experiment_id=experiment,
        run_name=name or comparison.resolve().name,
        tags={**tags, "tlkit.comparison": "true"},
    ) as made:
        pass  # its cells must not depend on what is open in this process
    client.update_run(made.info.run_id, status="RUNNING")
    write_link(comparison, make_link(uri, made.info.experiment_id, made.info.run_id))
    return made.info.run_id, True


def finish_parent(parent: str, comparison: Comparison, folder: Path) -> None:
    """Log the files of a comparison, how many cells it has, and a table as the description."""
    import mlflow

    client = mlflow.MlflowClient()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != LINK and not path.name.startswith("."):
            client.log_artifact(parent, str(path))
    client.log_metric(parent, "cells", len(comparison.cells))
    client.log_metric(parent, "failed_cells", len(comparison.failed))
    client.set_tag(parent, _NOTE, _table(comparison)[:_NOTE_LIMIT])


def _is_there(client: Any, run_id: str, experiment: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        info = client.get_run(run_id).info
    except MlflowException as err:
        if err.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return info.lifecycle_stage == "active" and experiment in (None, info.experiment_id)


def _table(comparison: Comparison) -> str:
    """Return the cells as a table in Markdown, which MLflow shows."""
    lines = ["| cell | test accuracy |", "|---|---|"]
    for cell in comparison.cells:
        found = "failed" if cell.figures is None else f"{100 * cell.figures.accuracy:.1f} %"
        if cell.figures is not None and cell.figures.interval is not None:
            low, high = (f"{100 * end:.1f}" for end in cell.figures.interval)
            found += f" ({low} to {high})"
        lines.append(f"| {_plain(cell.title)} | {found} |")
    return "\n".join([*lines, "", *map(_plain, comparison.notes)])


def _plain(text: str) -> str:
    """Return text that Markdown and HTML take as text; MLflow cleans its HTML as well."""
    shown = printable(text)
    return "".join(f"&#{ord(sign)};" if sign in "&<>|*_`[]\\!#~" else sign for sign in shown)
