"""Writing: a finished run's answers to pictures explained, one PNG for each picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkit import run_folder
from tlkit.dataset import DatasetSource
from tlkit.errors import ConfigError, DataError, ExplanationError, did_you_mean
from tlkit.explain.grad_cam import grad_cam
from tlkit.explain.heat_picture import draw_heat
from tlkit.explain.occlusion import PATCH, STRIDE, check_patch, occlusion
from tlkit.explain.parts import ModelParts, find_parts, resize_image
from tlkit.explain.records import ClassHeat, Explanation, Method
from tlkit.explain.saving import save_figure
from tlkit.explain.test_set import image_name, load_test_images, take
from tlkit.images import without_warnings
from tlkit.mirror import put_back
from tlkit.predictor import find_pictures
from tlkit.records import Float32Array, Int64Array, RunResult
from tlkit.store_urls import local_place

METHODS: tuple[Method, ...] = ("grad-cam", "occlusion")
FOLDER = "explanations"
_STEM_LIMIT = 80


@dataclass(frozen=True)
class Settings:
    """How pictures are explained.

    Attributes:
        method: ``"grad-cam"`` or ``"occlusion"``.
        class_name: The class to explain; None for the predicted one and, where that is known and
            another, the true one.
        patch: Of occlusion: side of the patch, a share of the image's.
        stride: Of occlusion: how far the patch moves at a time, a share of the image's side.
    """

    method: Method = "grad-cam"
    class_name: str | None = None
    patch: float = PATCH
    stride: float = STRIDE


@dataclass(frozen=True)
class _Item:
    name: str
    stem: str
    read: Callable[[], Any]
    label: int | None = None


def explain_pictures(
    folder: Path | str,
    inputs: Sequence[Path | str],
    settings: Settings | None = None,
    *,
    out: Path | None = None,
) -> Iterator[Explanation]:
    """Explain the answers of a finished run's model to picture files.

    Args:
        folder: The run folder.
        inputs: Files, and folders whose pictures are taken, sub-folders included.
        settings: How; by default Grad-CAM of the predicted class.
        out: Folder for the PNGs; by default ``explanations`` in the run folder.

    Yields:
        One explanation for each picture, in the order of the inputs.

    Raises:
        RunFolderError: If the run has no readable model, or a PNG cannot be written.
        DataError: If there is no picture at all.
        ConfigError: If a setting is not allowed.
    """
    found = find_pictures(inputs)
    run = run_folder.load_run(folder)
    items = [_Item(str(picture.path), _slug(picture.path.stem), picture.read) for picture in found]
    yield from _explain(run, items, settings or Settings(), out)


def explain_test_images(
    folder: Path | str,
    rows: Int64Array | Sequence[int],
    settings: Settings | None = None,
    *,
    out: Path | None = None,
    dataset: DatasetSource | None = None,
) -> Iterator[Explanation]:
    """Explain the answers of a finished run's model to images of its test set.

    Args:
        folder: The run folder.
        rows: Which images, by their index in the test set; see ``tlkit.explain.test_set``.
        settings: How; by default Grad-CAM of the predicted and, if another, the true class.
        out: Folder for the PNGs; by default ``explanations`` in the run folder.
        dataset: Where the images come from; by default what the run's ``config.toml`` names.

    Yields:
        One explanation for each image.

    Raises:
        RunFolderError: If the run has no readable model, or a PNG cannot be written.
        DataError: If the test images cannot be loaded, or are not those of the run.
        ConfigError: If a setting is not allowed.
    """
    run = run_folder.load_run(folder)
    split = load_test_images(run, dataset)
    digits = len(str(len(split) - 1))
    items = [
        _Item(
            image_name(split, int(row)),
            f"test-{int(row):0{digits}d}",
            lambda row=int(row): take(split, np.array([row]))[0],  # type: ignore[misc]
            int(split.labels[row]),
        )
        for row in rows
    ]
    yield from _explain(run, items, settings or Settings(), out)


def check_settings(settings: Settings, class_names: Sequence[str]) -> None:
    """Check how pictures are to be explained.

    Raises:
        ConfigError: If a setting is not allowed.
    """
    if settings.method not in METHODS:
        raise ConfigError(
            f"Unknown method '{settings.method}'.{did_you_mean(settings.method, METHODS)}\n"
            f"Allowed: {', '.join(METHODS)}."
        )
    name = settings.class_name
    if name is not None and name not in class_names:
        shown = ", ".join(class_names[:20]) + (", ..." if len(class_names) > 20 else "")
        raise ConfigError(
            f"This run has no class '{name}'.{did_you_mean(name, class_names)}\nIts classes: "
            f"{shown}."
        )
    check_patch(settings.patch, settings.stride)


def _explain(
    run: RunResult, items: Sequence[_Item], settings: Settings, out: Path | None
) -> Iterator[Explanation]:
    assert run.folder is not None
    class_names = run.info.class_names
    check_settings(settings, class_names)
    model = run_folder.load_model(run.folder)
    parts = find_parts(model)
    target = local_place(out) if out is not None else run.folder / FOLDER
    taken: set[str] = set()
    for item in items:
        truth = None if item.label is None else class_names[item.label]
        found = Explanation(item.name, settings.method, true_class=truth)
        try:
            with without_warnings():
                image = item.read()
            probabilities = model.predict_on_batch(resize_image(image, parts))[0]
            heats = [
                ClassHeat(
                    class_names[index],
                    float(probabilities[index]),
                    _heat(model, image, index, settings),
                )
                for index in _classes(probabilities, item.label, settings, class_names)
            ]
        except (DataError, ExplanationError) as err:
            yield replace(found, error=getattr(err, "reason", str(err)))
            continue
        best = int(np.argmax(probabilities))
        found = replace(
            found,
            predicted=class_names[best],
            confidence=float(probabilities[best]),
            explained=tuple(heat.name for heat in heats),
            path=target / f"{_free(item.stem, taken)}-{settings.method}.png",
        )
        assert found.path is not None
        figure = draw_heat(
            image, heats, settings.method, _title(run, found, parts), _subtitle(found)
        )
        save_figure(figure, found.path)
        put_back(found.path)
        yield found


def _heat(model: Any, image: Any, index: int, settings: Settings) -> Float32Array:
    if settings.method == "grad-cam":
        return grad_cam(model, image, index)
    return occlusion(model, image, index, patch=settings.patch, stride=settings.stride)


def _classes(
    probabilities: Any, label: int | None, settings: Settings, class_names: Sequence[str]
) -> list[int]:
    if settings.class_name is not None:
        return [class_names.index(settings.class_name)]
    best = int(np.argmax(probabilities))
    return [best] if label is None or label == best else [best, label]


def _title(run: RunResult, found: Explanation, parts: ModelParts) -> str:
    method = "Occlusion"
    if found.method == "grad-cam":
        # Few maps make a coarse picture, whatever the image's size.
        height, width = parts.maps.shape[1:3]
        view = ", plain view" if run.info.num_looks > 1 else ""
        method = f"Grad-CAM, {height} x {width} cells{view}"
    # The folder too, as pictures in several may have one name.
    return f"{method}: {'/'.join(Path(found.image).parts[-2:])}"


def _subtitle(found: Explanation) -> str:
    predicted = f"predicted: {found.predicted} ({100 * found.confidence:.1f} %)"
    return predicted if found.true_class is None else f"true: {found.true_class}, {predicted}"


def _slug(stem: str) -> str:
    return re.sub(r"[^\w.-]+", "_", stem)[:_STEM_LIMIT].strip(".") or "image"


def _free(stem: str, taken: set[str]) -> str:
    """Return a file name that no earlier image of this call has."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name
