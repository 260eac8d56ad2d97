"""Page: the report of one run as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlkit.atomic import atomic_write_text
from tlkit.errors import RunFolderError
from tlkit.mirror import put_back
from tlkit.records import RunResult
from tlkit.report.content import content
from tlkit.report.pictures import class_data, picture_data
from tlkit.report.rendering import MAX_BYTES, json_bytes, render
from tlkit.thumbnails import Thumbnail, load

PAGE = "report.html"
_TEMPLATE = "report.html.j2"
_MARGIN = 20_000


def write_report(result: RunResult) -> Path:
    """Write ``report.html`` into the folder of a run: one file that loads nothing.

    Args:
        result: A run with a folder, finished or read back with ``load_run()``.

    Returns:
        The file.

    Raises:
        PluginError: If ``tlkit[html]`` is not installed.
        RunFolderError: If the run has no folder, or the file cannot be written.
    """
    if result.folder is None:
        raise RunFolderError(f"Run {result.info.name} was not saved: a report needs its folder.")
    reason = ""
    thumbnails: Sequence[Thumbnail] = ()
    try:
        thumbnails = load(result.folder)
    except RunFolderError as err:
        reason = str(err)
    path = result.folder / PAGE
    try:
        atomic_write_text(path, render_report(result, thumbnails, reason))
    except OSError as err:
        raise RunFolderError(f"Cannot write {path}: {err.strerror or err}.") from err
    put_back(path)
    return path


def render_report(result: RunResult, thumbnails: Sequence[Thumbnail] = (), reason: str = "") -> str:
    """Return the report of a run as HTML of less than 3 MB.

    Args:
        result: The run.
        thumbnails: Pictures of its test images, the most important first; the page shows as many
            as there is room for.
        reason: Why there are none.

    Raises:
        PluginError: If ``tlkit[html]`` is not installed.
    """
    values, charts = content(result)
    values["why_no_images"] = reason
    data = {**class_data(result), **picture_data(result, ())}
    empty = render(_TEMPLATE, data, charts, shown=0, **values)
    room = MAX_BYTES - _MARGIN - len(empty.encode("utf-8", "backslashreplace"))
    pictures = picture_data(result, thumbnails)
    kept = 0
    for item in pictures["images"]:
        room -= json_bytes(item) + 1
        if room < 0:
            break
        kept += 1
    if not kept:
        return empty
    pictures = picture_data(result, thumbnails[:kept])
    return render(_TEMPLATE, data | pictures, charts, shown=len(pictures["images"]), **values)
