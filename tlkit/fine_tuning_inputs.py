"""What fine-tuning trains on: pixels, or what the frozen blocks make of them, computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlkit.batch_augmentation import make_augment
from tlkit.features import free_bytes
from tlkit.fingerprint import digest_model, fingerprint
from tlkit.fitting import Prepare
from tlkit.freezing import split_network
from tlkit.model import pool, run_backbone
from tlkit.rows import Stacked
from tlkit.session_features import make_source
from tlkit.subsets import SplitName
from tlkit.training_examples import Examples

if TYPE_CHECKING:
    from tlkit.feature_source import FeatureSource
    from tlkit.session import Session


def pixel_inputs(session: Session) -> tuple[Any, dict[str, Examples]]:
    """Return the network from resized pixels to logits, and the images for it."""
    import keras

    features = session.model.features
    whole = keras.Model(features.inputs, session.model.head(features.outputs[0]))
    return whole, {
        part: Examples(subset.split.images, subset.split.labels, subset.rows, session.resizer)
        for part, subset in session.subsets.items()
        if part != "test"
    }


def make_preparation(session: Session, augment: bool, generator: Any) -> Prepare:
    """Return what makes a batch of images ready for the network, while TensorFlow traces.

    Args:
        session: The session.
        augment: Whether each batch of training gets new views of its images.
        generator: A ``keras.random.SeedGenerator``, which these are drawn by.
    """
    size = session.backbone.image_size
    draw = make_augment(session.augmentation, size, session.backbone.interpolation, generator)

    def prepare(images: Any, training: bool) -> Any:
        augmented = augment and training
        larger = max(images.shape[1:3]) > size
        # Views of larger images would alias; those of smaller ones are drawn from all pixels.
        if images.shape[1:3] != (size, size) and (larger or not augmented):
            images = session.model.resize(images)
        return draw(images) if augmented else images

    return prepare


def frozen_block_inputs(
    session: Session, blocks: list[Any], unfrozen: int, views: int
) -> tuple[Any, dict[str, Examples]] | None:
    """Return the network after its frozen blocks, and what these make of the images.

    That is computed once and stored, as the whole backbone's features are.

    Args:
        session: The session.
        blocks: The blocks of its backbone, from input to output.
        unfrozen: How many of them are trained, from the output.
        views: How many views of each training image are stored beside the image itself.

    Returns:
        None where the network cannot be cut there, or the store's disk is too small; a warning of
        the session's events says so where that changes the figures or the time.
    """
    import keras

    parts = split_network(session.model.backbone, blocks, unfrozen)
    if parts is None:
        if views:
            session.events.warnings.append(
                f"New views are drawn each epoch instead of {views} stored ones: "
                f"{session.backbone.name} cannot be cut in front of its last {unfrozen} blocks."
            )
        return None
    trunk, tail = parts
    size, count = session.backbone.image_size, len(blocks) - unfrozen
    place = len(trunk.layers)
    pixels = keras.Input((size, size, 3))
    source = make_source(
        session,
        keras.Model(pixels, run_backbone(session.backbone, trunk, pixels)),
        fingerprint(digest_model(session.model, session.backbone, session.head), "", layers=place),
        what=f"{count} blocks",
        reference_engine=True,
    )
    numbers: dict[SplitName, range] = {"train": range(views + 1), "validation": range(1)}
    if not _fits_on_disk(session, source, numbers, views):
        return None
    maps = keras.Input(trunk.output_shape[1:])
    x = tail(maps)
    pooling = pool(session.head)
    model = keras.Model(maps, session.model.head(pooling(x) if pooling else x))
    examples: dict[str, Examples] = {}
    for part in numbers:
        subset, digest = session.subsets[part], session.digest_of(part)
        found = [source.get(part, subset.split, digest, view) for view in numbers[part]]
        inputs = Stacked(found) if len(found) > 1 else found[0]
        examples[part] = Examples(inputs, subset.split.labels, subset.rows)
    return model, examples


def _fits_on_disk(
    session: Session, source: FeatureSource, numbers: dict[SplitName, range], views: int
) -> bool:
    """Return whether the store's disk can take all views of the subsets; warn where it cannot."""
    wanted = {
        (id(session.subsets[part].split.images), view): source.missing_bytes(
            session.subsets[part].split, session.digest_of(part), view
        )
        for part in numbers
        for view in numbers[part]
    }
    missing, free = sum(wanted.values()), free_bytes(session.store.folder)
    if missing <= free / 2:
        return True
    instead = f" New views are drawn instead of {views} stored ones." if views else ""
    session.events.warnings.append(
        f"What the frozen blocks give is computed anew each epoch: storing it would take "
        f"{missing / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {session.store.folder}."
        f"{instead}"
    )
    return False
