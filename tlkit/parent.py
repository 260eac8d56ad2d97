"""Parent: the finished run that another one starts from, and what is taken over from it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tlkit import run_folder
from tlkit.errors import ConfigError, RunFolderError
from tlkit.fingerprint import describe_layers
from tlkit.head import ClosedFormHead, Head
from tlkit.model import AssembledModel, pool
from tlkit.model_parts import ModelParts, find_parts
from tlkit.paths import with_urls
from tlkit.records import Ancestor, RunResult

if TYPE_CHECKING:
    import keras

OldClasses = Literal["error", "drop", "replay"]
# Options of the backbone that need not be the parent's: weights are replaced, and the size of the
# images is no part of most networks.
_FREE = ("name", "weights", "image_size")
# What changes how a layer learns, and not what it computes.
_OF_LEARNING = ("rate", "seed", "dtype")
_MOST_NAMES = 5


@dataclass(frozen=True)
class Inheritance:
    """What becomes of a parent's head.

    Attributes:
        head: As in ``Lineage``.
        reason: Why it is new; empty if it is not.
    """

    head: Literal["kept", "grown", "new"]
    reason: str = ""


@dataclass(frozen=True)
class Parent:
    """A finished run, and its model.

    Attributes:
        run: The run.
        digest: The SHA-256 of its model's file.
        parts: Its backbone and its head.
        pooling: The class of the layer between them; None if there is none.
    """

    run: RunResult
    digest: str
    parts: ModelParts
    pooling: type | None

    @property
    def folder(self) -> Path:
        """Its run folder."""
        assert self.run.folder is not None
        return self.run.folder

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that it knows, in the order of its labels."""
        return self.run.info.class_names

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """The run itself, and those before it."""
        info = self.run.info
        own = Ancestor(
            name=info.name,
            folder=with_urls(str(self.folder)),
            began=info.began,
            model=self.digest,
            accuracy=self.run.accuracy,
            num_test=len(self.run.test.labels),
            backbone=str(info.config.get("backbone", {}).get("name", "")),
            head=str(info.config.get("head", {}).get("name", "")),
            num_classes=len(info.class_names),
            epochs=sum(item.num_epochs for item in self.run.phases),
        )
        return (own, *(info.lineage.ancestors if info.lineage is not None else ()))


def read_parent(folder: Path) -> Parent:
    """Read a finished run and its model.

    Raises:
        RunFolderError: If there is none, it is not finished, or it is damaged.
    """
    import keras

    try:
        run = run_folder.load_run(folder)
        path = run_folder.model_path(folder)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        model = run_folder.load_model(folder)
        parts = find_parts(model)
    except (RunFolderError, OSError, ValueError) as err:
        raise RunFolderError(f"Cannot start from the run {folder}: {err}") from err
    known, given = len(run.info.class_names), parts.logits.shape[-1]
    if known != given:
        raise RunFolderError(
            f"Cannot start from the run {folder}: its model has {given} classes, its "
            f"{run_folder.RUN} {known}."
        )
    kinds = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    pooling = next((type(layer) for layer in model.layers if isinstance(layer, kinds)), None)
    return Parent(run, digest, parts, pooling)


def check_backbone(parent: Parent, table: Mapping[str, Any]) -> None:
    """Check that a run has its parent's backbone.

    Args:
        parent: The parent.
        table: The run's ``[backbone]``.

    Raises:
        ConfigError: If it has not.
    """
    own = _plain(table)
    theirs = dict(parent.run.info.config.get("backbone", {}))
    if own.get("name") != theirs.get("name"):
        raise ConfigError(
            f"[backbone] name = '{own.get('name')}' is not allowed: the run starts from "
            f"{parent.folder}, whose backbone is '{theirs.get('name')}'. Set that one, or start "
            f"from another run."
        )
    differing = [
        key for key in own.keys() & theirs.keys() if key not in _FREE and own[key] != theirs[key]
    ]
    if differing:
        received = ", ".join(f"{key} = {own[key]!r}" for key in sorted(differing))
        needed = " ".join(f"--set backbone.{key}={theirs[key]}" for key in sorted(differing))
        raise ConfigError(
            f"[backbone] {received} is not allowed: the weights of {parent.folder} are of another "
            f"network. Allowed: {needed}"
        )


def check_classes(
    parent: Parent, class_names: Sequence[str], choice: OldClasses
) -> tuple[str, ...]:
    """Return the classes of the parent that the data lacks.

    Args:
        parent: The parent.
        class_names: The classes of the data.
        choice: What to do about such classes.

    Raises:
        ConfigError: With ``"error"``, if there are any.
    """
    missing = tuple(name for name in parent.class_names if name not in set(class_names))
    if missing and choice == "error":
        shown = ", ".join(repr(name) for name in missing[:_MOST_NAMES])
        classes = "class" if len(missing) == 1 else "classes"
        more = f" and {len(missing) - _MOST_NAMES} more" if len(missing) > _MOST_NAMES else ""
        raise ConfigError(
            f"The data lacks the {classes} {shown}{more} of the run {parent.folder}. Training "
            f"without images of a class makes a model forget it. Allowed: [run] old_classes = "
            f"'replay' takes its images from that run's own data, 'drop' lets the new model do "
            f"without it."
        )
    return missing


def inheritance(
    parent: Parent, head: Head, network: keras.Model, class_names: Sequence[str]
) -> Inheritance:
    """Return what becomes of the parent's head.

    Args:
        parent: The parent.
        head: The run's head.
        network: What that built.
        class_names: The classes of the run.
    """
    theirs = parent.run.info.config.get("head", {})
    if isinstance(head, ClosedFormHead):
        return Inheritance("new", f"'{head.name}' is solved anew on the features")
    if theirs.get("name") != head.name:
        return Inheritance("new", f"'{head.name}' in place of the parent's '{theirs.get('name')}'")
    pooling = pool(head)
    if (None if pooling is None else type(pooling)) is not parent.pooling:
        return Inheritance("new", "it pools the features in another way than the parent's")
    own_layers, their_layers = _head_layers(network), _head_layers(parent.parts.head)
    if (
        own_layers[:-1] != their_layers[:-1]
        or _shapes(network)[:-1] != _shapes(parent.parts.head)[:-1]
    ):
        return Inheritance("new", _differing_options(head, theirs))
    if tuple(class_names) == parent.class_names:
        if _shapes(network) != _shapes(parent.parts.head):
            return Inheritance("new", _differing_options(head, theirs))
        return Inheritance("kept")
    if not (_ends_in_classes(network) and _ends_in_classes(parent.parts.head)):
        return Inheritance("new", f"'{head.name}' does not end in one row for each class")
    new = set(class_names) - set(parent.class_names)
    if len(new) == len(class_names):
        return Inheritance("new", "the parent knows none of its classes")
    return Inheritance("grown" if new else "kept")


def take_over(
    parent: Parent, head: Head, model: AssembledModel, class_names: Sequence[str]
) -> Inheritance:
    """Give a new model the weights of its parent: those of the backbone, and of the head if kept.

    Rows of the last layer go by the name of their class; those of new classes stay as they were
    made. The temperature of a calibrated parent is not taken over: it is no part of its head.

    Args:
        parent: The parent.
        head: The run's head.
        model: The run's model, with fresh weights.
        class_names: The classes of the run.

    Returns:
        What became of the head.

    Raises:
        ConfigError: If the backbone's weights do not fit.
    """
    own, theirs = model.backbone.weights, parent.parts.backbone.weights
    if [_described(weight) for weight in own] != [_described(weight) for weight in theirs]:
        raise ConfigError(
            f"The weights of the backbone of {parent.folder} do not fit this run's: they are of "
            f"{sum(_size(weight) for weight in theirs):,} parameters in {len(theirs)} arrays, and "
            f"needed are {sum(_size(weight) for weight in own):,} in {len(own)}. Set the "
            f"[backbone] that is in {parent.folder / run_folder.CONFIG}."
        )
    _copy(theirs, own)
    found = inheritance(parent, head, model.head, class_names)
    if found.head == "new":
        return found
    source = parent.parts.head
    if tuple(class_names) == parent.class_names:
        _copy(source.weights, model.head.weights)
        return found
    last, their_last = model.head.layers[-1], source.layers[-1]
    ends = {id(weight) for layer in (last, their_last) for weight in layer.weights}
    _copy(
        [weight for weight in source.weights if id(weight) not in ends],
        [weight for weight in model.head.weights if id(weight) not in ends],
    )
    places = [
        (new, parent.class_names.index(name))
        for new, name in enumerate(class_names)
        if name in parent.class_names
    ]
    new_places, old_places = (list(part) for part in zip(*places, strict=True))
    for weight, theirs_ in zip(last.weights, their_last.weights, strict=True):
        values = np.array(weight.numpy())
        values[..., new_places] = theirs_.numpy()[..., old_places]
        weight.assign(values)
    return found


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of the config as it is read back from a run folder."""
    plain: dict[str, Any] = tomllib.loads(run_folder.config_text({"table": table}))["table"]
    return plain


def _differing_options(head: Head, theirs: Mapping[str, Any]) -> str:
    own = _plain(head.options)
    differing = [
        f"{key} = {own[key]!r}, the parent's {theirs[key]!r}"
        for key in sorted(own.keys() & theirs.keys())
        if own[key] != theirs[key]
    ]
    return "; ".join(differing) or "its layers are not those of the parent's"


def _head_layers(network: keras.Model) -> list[Any]:
    return _without_learning(describe_layers(network))


def _without_learning(layers: Sequence[Sequence[Any]]) -> list[Any]:
    """Return descriptions of layers without what decides how they learn."""
    return [
        [
            kind,
            {
                key: value
                for key, value in settings.items()
                if key not in _OF_LEARNING
                and not key.endswith(("_initializer", "_regularizer", "_constraint"))
            },
            _without_learning(inner),
        ]
        for kind, settings, inner in layers
    ]


def _shapes(network: keras.Model) -> list[list[tuple[int, ...]]]:
    return [[tuple(weight.shape) for weight in layer.weights] for layer in network.layers]


def _ends_in_classes(network: keras.Model) -> bool:
    """Return whether a head ends in a dense layer, which has one column for each class."""
    import keras

    last = network.layers[-1]
    return isinstance(last, keras.layers.Dense) and network.outputs[0] is last.output


def _copy(source: Sequence[Any], target: Sequence[Any]) -> None:
    for theirs, own in zip(source, target, strict=True):
        own.assign(theirs)


def _described(weight: Any) -> tuple[str, tuple[int, ...]]:
    return weight.name, tuple(weight.shape)


def _size(weight: Any) -> int:
    return int(np.prod(weight.shape))
