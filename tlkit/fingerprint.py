"""Fingerprints: the keys of stored features, made of everything that features depend on."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkit.encoded_pictures import EncodedPictures, digest_of_digests
from tlkit.errors import PluginError
from tlkit.model import is_built_of_named_layers
from tlkit.plugin_calls import describe_plugin, plugin_call
from tlkit.records import ImageData, ImageSequence
from tlkit.runtime import distributions_of_packages

if TYPE_CHECKING:
    from tlkit.backbone import Backbone
    from tlkit.head import Head
    from tlkit.model import AssembledModel

FORMAT_VERSION = 3


def fingerprint(model_digest: str, images_digest: str, **settings: Any) -> str:
    """Return the key of the features that one model makes of some images.

    Args:
        model_digest: What ``digest_model()`` returned.
        images_digest: What ``digest_images()`` returned.
        settings: Whatever else they depend on, such as the stored type; JSON values.
    """
    text = json.dumps([model_digest, images_digest, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass
class KnownDigests:
    """Digests of images, kept while those images are in memory and do not change.

    Runs on the same images share one, so that these are read once.

    Attributes:
        whole: The SHA-256 of all images of a split, by the id of the images.
        each: One digest for each image, by the id of the split.
        encoded: What ``EncodedPictures.digests()`` returned, by the id of the pictures.
    """

    whole: dict[int, str] = field(default_factory=dict)
    each: dict[int, list[bytes]] = field(default_factory=dict)
    encoded: dict[int, list[bytes]] = field(default_factory=dict)

    def of(self, images: ImageSequence) -> str:
        """Return the SHA-256 of images, as ``digest_images()`` does."""
        if id(images) not in self.whole:
            self.whole[id(images)] = (
                digest_of_digests(self.of_each(images))
                if isinstance(images, EncodedPictures)
                else digest_images(images)
            )
        return self.whole[id(images)]

    def of_each(self, pictures: EncodedPictures) -> list[bytes]:
        """Return the SHA-256 of each encoded picture; the files are read once."""
        if id(pictures) not in self.encoded:
            self.encoded[id(pictures)] = pictures.digests()
        return self.encoded[id(pictures)]

    def copy(self) -> KnownDigests:
        """Return the same digests, to which others can be added."""
        return KnownDigests(dict(self.whole), dict(self.each), dict(self.encoded))


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


def digest_labels(data: ImageData) -> str:
    """Return the SHA-256 of a data set's class names and of the labels of its splits, in order."""
    digest = hashlib.sha256(json.dumps(list(data.class_names)).encode())
    for split in (data.train, data.validation, data.test):
        labels = np.asarray([] if split is None else split.labels, dtype="<i8")
        digest.update(f"{split is None}{labels.shape}".encode())
        digest.update(labels.tobytes())
    return digest.hexdigest()


def digest_splits(data: ImageData, known: KnownDigests) -> dict[str, str]:
    """Return the SHA-256 of the images of each split that a data set brings, by its name."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: known.of(split.images) for name, split in splits.items() if split is not None}


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

    These are the class and the options of the backbone, the code and the versions that it comes
    from, its interpolation, the layers with their settings and weights, what ``preprocess()`` does
    to a probe image, the pooling, and the version of the storage format.
    """
    parts = {
        "format": FORMAT_VERSION,
        "class": f"{type(backbone).__module__}.{type(backbone).__qualname__}",
        "code": digest_code(type(backbone)),
        "versions": versions_of(backbone),
        "options": {key: repr(value) for key, value in sorted(backbone.options.items())},
        "image_size": backbone.image_size,
        "interpolation": backbone.interpolation,
        "layers": describe_layers(model.backbone),
        "weights": digest_weights(model.backbone),
        "preprocess": hashlib.sha256(probe_preprocessing(backbone).tobytes()).hexdigest(),
        "pooling": head.pooling,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def probe_preprocessing(backbone: Backbone) -> Any:
    """Return what ``preprocess()`` makes of a probe image, float32 (N, height, width, 3).

    Raises:
        PluginError: If it fails, gives NaN or infinity, or changes its input.
    """
    import keras

    probe = np.linspace(0, 255, 2 * 16 * 16 * 3, dtype="float32").reshape(2, 16, 16, 3)
    given = probe.copy()
    try:
        with plugin_call(backbone, "preprocess() of a float32 array of pixels"):
            found = backbone.preprocess(given)
    except PluginError:  # it may want its own size
        size = backbone.image_size
        probe = np.resize(probe, (1, size, size, 3))
        given = probe.copy()
        with plugin_call(backbone, "preprocess() of a float32 array of pixels"):
            found = backbone.preprocess(given)
    if not np.array_equal(given, probe):
        raise PluginError(
            f"{describe_plugin(backbone)} changes the images that preprocess() receives. Give "
            f"back a new array: images / 255 and not images /= 255."
        )
    preprocessed = np.asarray(keras.ops.convert_to_numpy(found))
    if not np.isfinite(preprocessed).all():
        raise PluginError(
            f"{describe_plugin(backbone)} gives NaN or infinity from preprocess() for pixels of 0 "
            f"to 255. Does it divide by zero?"
        )
    return preprocessed


def digest_code(plugin: type) -> str:
    """Return the SHA-256 of the files that define a plugin's class and its bases.

    Those of tlkit's own abstract bases are not among them; "" where there is no file.
    """
    digest = hashlib.sha256()
    found = False
    for base in plugin.__mro__:
        package = base.__module__.partition(".")[0]
        plugins_own = package != "tlkit" or base.__module__.startswith("tlkit.builtin.")
        if not plugins_own or package in sys.stdlib_module_names:
            continue
        try:
            digest.update(Path(inspect.getfile(base)).read_bytes())
            found = True
        except (OSError, TypeError):  # defined in a notebook
            continue
    return digest.hexdigest() if found else ""


def versions_of(backbone: Backbone) -> dict[str, str]:
    """Return the versions of Keras and of the distributions that a backbone's code comes from.

    That of tlkit is not among them: ``FORMAT_VERSION`` and the code of the backbone stand for it,
    so that features outlive a new version of tlkit that changes neither.
    """
    modules = {type(backbone).__module__, *backbone.modules}
    packages = {module.partition(".")[0] for module in modules} - {"tlkit", "__main__"}
    owners = distributions_of_packages() if packages else {}
    names = {name for package in packages for name in owners.get(package, ())} | {"keras"}
    return {name: version(name) for name in sorted(names)}


def describe_layers(network: Any) -> list[list[Any]]:
    """Return the class, the settings and the inner layers of each layer of a network, in order."""
    return [_describe(layer) for layer in network.layers]


def _describe(layer: Any) -> list[Any]:
    if getattr(layer, "layers", None) and is_built_of_named_layers(layer):
        return [type(layer).__name__, {}, describe_layers(layer)]
    # Names and seeds are counted up within a process and change no feature.
    config = layer.get_config().items()
    kept = {key: value for key, value in config if key not in ("name", "seed", "trainable")}
    return [type(layer).__name__, kept, []]
