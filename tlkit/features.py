"""FeatureStore: what the frozen backbone makes of each image, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.atomic import atomic_write_text
from tlkit.errors import DataError, PluginError
from tlkit.records import Float32Array, ImageSequence

if TYPE_CHECKING:
    from tlkit.backbone import Backbone
    from tlkit.head import Head
    from tlkit.model import AssembledModel

FORMAT_VERSION = 1
FEATURES, PARTIAL, META = "features.npy", "features.partial", "meta.json"
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class StoredFeatures:
    """One entry of the store, for listings.

    Attributes:
        fingerprint: Its key.
        backbone: Name of the backbone.
        shape: Shape of the array: (images, *shape of one image's features).
        bytes: Size on disk.
        modified: Seconds since the epoch.
        complete: False for an extraction that was interrupted; the next run continues it.
    """

    fingerprint: str
    backbone: str
    shape: tuple[int, ...]
    bytes: int
    modified: float
    complete: bool


class FeatureStore:
    """Features on disk, each under the fingerprint of everything that they depend on."""

    def __init__(self, folder: Path | None = None) -> None:
        """Choose the folder.

        Args:
            folder: Where to keep features; by default ``$TLKIT_CACHE/features``, or the user's
                cache folder.
        """
        self.folder = folder if folder is not None else default_cache_folder() / "features"

    def get(
        self,
        fingerprint: str,
        images: ImageSequence,
        model: AssembledModel,
        backbone: Backbone,
        progress: Progress | None = None,
    ) -> tuple[Float32Array, bool]:
        """Return the features of images, computing them if they are not stored.

        A run that is killed leaves whole rows; the next call goes on after the last one. Processes
        that want the same features wait for the first one.

        Args:
            fingerprint: What ``fingerprint()`` returned for these images and this model.
            images: The images.
            model: The assembled model.
            backbone: The backbone, named in the listing and in errors.
            progress: Called with (done, total, seconds).

        Returns:
            A read-only memory-mapped float32 array (N, ...), and whether it was stored already.

        Raises:
            PluginError: If the backbone gives values that are not finite.
            DataError: If the features cannot be written.
        """
        from filelock import FileLock

        entry = self.folder / fingerprint
        if not (entry / FEATURES).exists():
            try:
                entry.mkdir(parents=True, exist_ok=True)
                with FileLock(entry / "lock"):
                    if not (entry / FEATURES).exists():
                        self._extract(entry, images, model, backbone, progress)
                        return np.load(entry / FEATURES, mmap_mode="r"), False
            except OSError as err:
                raise DataError(
                    f"Cannot keep features in {self.folder}: {err.strerror or err}. Free some "
                    f"space there, or set TLKIT_CACHE to another folder."
                ) from err
        return np.load(entry / FEATURES, mmap_mode="r"), True

    def entries(self) -> list[StoredFeatures]:
        """Return the entries, the newest first."""
        found = [item for path in self._entries() if (item := _describe(path)) is not None]
        return sorted(found, key=lambda item: -item.modified)

    def clear(self) -> int:
        """Delete every entry that no process is writing; return the number of bytes freed."""
        from filelock import FileLock, Timeout

        freed = 0
        for entry in self._entries():
            try:
                with FileLock(entry / "lock", timeout=0):
                    freed += sum(item.stat().st_size for item in entry.iterdir())
                    for name in (FEATURES, PARTIAL, META):
                        (entry / name).unlink(missing_ok=True)
            except Timeout:
                continue
            shutil.rmtree(entry, ignore_errors=True)
        return freed

    def _entries(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir()]

    def _extract(
        self,
        entry: Path,
        images: ImageSequence,
        model: AssembledModel,
        backbone: Backbone,
        progress: Progress | None,
    ) -> None:
        shape = (len(images), *model.features.output_shape[1:])
        atomic_write_text(
            entry / META, json.dumps({"backbone": backbone.name, "shape": shape}, indent=2)
        )
        header = _npy_header(shape)
        row_bytes = 4 * int(np.prod(shape[1:]))
        partial = entry / PARTIAL
        partial.touch()
        done = max(0, partial.stat().st_size - len(header)) // row_bytes
        begin = time.monotonic()
        with partial.open("r+b") as file:
            file.write(header)
            file.truncate(len(header) + done * row_bytes)
            file.seek(0, os.SEEK_END)
            for features in run_batches(model, images, backbone.image_size, start=done):
                if not np.isfinite(features).all():
                    raise PluginError(
                        f"Backbone '{backbone.name}' gave features that are not finite (NaN or "
                        f"infinity) for images {done} to {done + len(features) - 1}. Check its "
                        f"weights and its preprocess()."
                    )
                file.write(np.ascontiguousarray(features, dtype="<f4").data)
                done += len(features)
                if progress is not None:
                    progress(done, len(images), time.monotonic() - begin)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(entry / FEATURES)


def run_batches(
    model: AssembledModel, images: ImageSequence, image_size: int, *, start: int = 0
) -> Iterator[Float32Array]:
    """Run the frozen part of a model over images, in order.

    Args:
        model: The assembled model; its ``features`` view is run in inference mode.
        images: The images.
        image_size: The backbone's input size, which decides the batch size.
        start: The first image.

    Yields:
        float32 arrays (batch, *shape of one image's features).
    """
    import tensorflow as tf

    @tf.function(reduce_retracing=True, jit_compile=False)  # type: ignore[untyped-decorator]
    def forward(pixels: Any) -> Any:
        pixels = tf.cast(pixels, tf.float32)
        # Resizing to the same size is exact, so leaving it out changes no number.
        if pixels.shape[1:3] != (image_size, image_size):
            pixels = model.resize(pixels)
        return model.features(pixels, training=False)

    for batch in pixel_batches(images, batch_size_for(image_size), model.resize, start=start):
        yield forward(tf.convert_to_tensor(batch)).numpy()


def pixel_batches(
    images: ImageSequence, batch_size: int, resize: Any, *, start: int = 0
) -> Iterator[Any]:
    """Yield images in batches, resized only where a lazy sequence mixes sizes.

    Pictures of a lazy sequence are decoded in threads while the caller works on the last batch.
    """
    starts = range(start, len(images), batch_size)
    if isinstance(images, np.ndarray):
        for first in starts:
            yield images[first : first + batch_size]
        return

    def load(first: int) -> list[Any]:
        return [images[i] for i in range(first, min(first + batch_size, len(images)))]

    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = pool.submit(load, start) if starts else None
        for first in starts:
            assert pending is not None
            loaded = pending.result()
            pending = pool.submit(load, first + batch_size)
            yield stack_resized(loaded, resize)


def stack_resized(images: list[Any], resize: Any) -> Any:
    """Resize images one by one with the model's own layer and stack them.

    Args:
        images: uint8 arrays (height, width, 3).
        resize: The assembled model's ``resize`` layer.

    Returns:
        A float32 tensor (N, image_size, image_size, 3); resizing it again changes nothing.
    """
    import tensorflow as tf

    return tf.concat([resize(tf.cast(image[None], tf.float32)) for image in images], axis=0)


def batch_size_for(image_size: int) -> int:
    """Return a batch size whose activations stay within the processor's caches and memory."""
    return int(np.clip(256 * 64**2 // image_size**2, 16, 256))


def fingerprint(model_digest: str, images_digest: str) -> str:
    """Return the key of the features that one model makes of some images."""
    return hashlib.sha256(f"{model_digest}:{images_digest}".encode()).hexdigest()[:32]


def digest_images(images: ImageSequence) -> str:
    """Return the SHA-256 of images: their number, shapes and bytes, in order."""
    if not isinstance(images, np.ndarray) and hasattr(images, "fingerprint"):
        return str(images.fingerprint())
    digest = hashlib.sha256()
    if isinstance(images, np.ndarray):
        digest.update(f"{images.shape}{images.dtype}".encode())
        digest.update(np.ascontiguousarray(images).data)
    else:
        for image in images:
            digest.update(f"{image.shape}{image.dtype}".encode())
            digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def digest_weights(network: Any) -> str:
    """Return the SHA-256 of a network's weights: shapes and bytes, in order."""
    digest = hashlib.sha256()
    for weight in network.weights:
        value = np.ascontiguousarray(weight.numpy())
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.data)
    return digest.hexdigest()


def digest_model(model: AssembledModel, backbone: Backbone, head: Head) -> str:
    """Return the SHA-256 of everything in a model that features depend on.

    These are the class and the options of the backbone, its interpolation, the layers with their
    settings and weights, what ``preprocess()`` does to a probe image, the pooling, the feature
    type, and the version of the storage format.
    """
    import keras

    probe = np.linspace(0, 255, 2 * 16 * 16 * 3, dtype="float32").reshape(2, 16, 16, 3)
    try:
        preprocessed = np.asarray(keras.ops.convert_to_numpy(backbone.preprocess(probe)))
    except Exception as err:  # a third party's code, which may want another size
        size = backbone.image_size
        probe = np.resize(probe, (1, size, size, 3))
        try:
            preprocessed = np.asarray(keras.ops.convert_to_numpy(backbone.preprocess(probe)))
        except Exception:
            raise PluginError(
                f"Backbone '{backbone.name}': preprocess() raised {type(err).__name__} on a "
                f"float32 array of pixels: {err}"
            ) from err
    parts = {
        "format": FORMAT_VERSION,
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "options": {key: repr(value) for key, value in sorted(backbone.options.items())},
        "image_size": backbone.image_size,
        "interpolation": backbone.interpolation,
        "layers": _describe_layers(model.backbone),
        "weights": digest_weights(model.backbone),
        "preprocess": hashlib.sha256(preprocessed.tobytes()).hexdigest(),
        "pooling": head.pooling,
        "dtype": "float32",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def _describe_layers(network: Any) -> list[Any]:
    described = []
    for layer in network.layers:
        config = layer.get_config() if not getattr(layer, "layers", None) else {}
        # Names and seeds are counted up within a process and change no feature.
        kept = {k: v for k, v in config.items() if k not in ("name", "seed", "trainable")}
        nested = _describe_layers(layer) if getattr(layer, "layers", None) else []
        described.append([type(layer).__name__, kept, nested])
    return described


def default_cache_folder() -> Path:
    """Return ``$TLKIT_CACHE``, or the user's cache folder for tlkit."""
    import platformdirs

    return Path(os.environ.get("TLKIT_CACHE") or platformdirs.user_cache_dir("tlkit"))


def _npy_header(shape: tuple[int, ...]) -> bytes:
    import io

    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _describe(entry: Path) -> StoredFeatures | None:
    try:
        meta = json.loads((entry / META).read_text(encoding="utf-8"))
        complete = (entry / FEATURES).exists()
        stat = (entry / (FEATURES if complete else PARTIAL)).stat()
        return StoredFeatures(
            fingerprint=entry.name,
            backbone=str(meta["backbone"]),
            shape=tuple(meta["shape"]),
            bytes=stat.st_size,
            modified=stat.st_mtime,
            complete=complete,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
