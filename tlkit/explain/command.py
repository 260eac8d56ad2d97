"""What ``tlkit explain`` does with its arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tlkit import run_folder
from tlkit.errors import ConfigError
from tlkit.explain.feature_map import draw_maps
from tlkit.explain.records import Explanation, FeatureMap
from tlkit.explain.test_set import sample
from tlkit.explain.writing import Settings, check_settings, explain_pictures, explain_test_images
from tlkit.screen import say
from tlkit.text import printable

Written = Explanation | FeatureMap


def explain(
    folder: Path,
    images: Sequence[Path],
    *,
    wrong: int,
    sample_size: int,
    with_map: bool,
    settings: Settings,
    out: Path | None,
) -> Iterator[Written]:
    """Write what was asked for; yield each file as it is written, and each image that failed.

    Args:
        folder: The run folder.
        images: Files and folders.
        wrong: How many of the most confident mistakes to explain.
        sample_size: How many test images, drawn at random, to explain.
        with_map: Whether to draw the maps of the test features.
        settings: How pictures are explained.
        out: Folder for the PNGs; by default ``explanations`` in the run folder.

    Raises:
        ConfigError: If nothing is asked for, or a setting is not allowed.
        TlkitError: As ``explain_pictures()``, ``explain_test_images()`` and ``draw_maps()`` do.
    """
    if not (images or wrong or sample_size or with_map):
        raise ConfigError(
            "Nothing to explain. Give picture files or folders, --wrong N for the most confident "
            "mistakes, --sample N for test images, or --map for a map of the test features."
        )
    run = run_folder.load_run(folder)
    check_settings(settings, run.info.class_names)
    if images:
        yield from explain_pictures(folder, images, settings, out=out)
    mistakes = run.test.confident_mistakes[:wrong]
    chosen = list(dict.fromkeys([*mistakes.tolist(), *sample(run, sample_size).tolist()]))
    if chosen:
        yield from explain_test_images(folder, chosen, settings, out=out)
    if with_map:
        print("Laying out the test features; this takes up to a few minutes.", file=sys.stderr)
        yield from draw_maps(folder, out=out)
    if len(mistakes) < wrong:
        print(
            f"Mistakes in this run: {len(mistakes)}, fewer than the {wrong} asked for.",
            file=sys.stderr,
        )


def show(written: Iterator[Written], *, quiet: bool) -> list[Written]:
    """Print a line for each file, and each error once to standard error.

    Args:
        written: What ``explain()`` yields.
        quiet: Print nothing.

    Returns:
        What was written, and the images that failed, in order.
    """
    found: list[Written] = []
    errors: dict[str, list[str]] = {}
    for item in written:
        found.append(item)
        if isinstance(item, FeatureMap):
            where = "from the feature store" if item.source == "store" else "computed"
            about = f"{item.projection} of {item.images:,} test images, features {where}"
        elif item.error is not None:
            errors.setdefault(item.error, []).append(item.image)
            continue
        else:
            truth = "" if item.true_class is None else f", true: {item.true_class} ({item.image})"
            about = f"{item.predicted} {100 * item.confidence:.1f} %{truth}"
        if not quiet:
            print(f"{printable(str(item.path))}  {printable(about)}", flush=True)
    if not quiet:
        for error, names in errors.items():
            who = names[0] if len(names) == 1 else f"{len(names)} images, such as {names[0]}"
            say(f"error: {who}: {error}")
    return found
