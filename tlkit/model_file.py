"""Model files from outside: what they may name, before Keras reads them.

Keras builds a model from a config that names classes. Its safe mode refuses serialized Python code;
several layers and functions got round it, each until a later version of Keras: CVE-2025-1550 (any
module), CVE-2025-8747 and CVE-2025-9906 (functions of Keras that change its settings or fetch
files), CVE-2025-9905 (.h5), CVE-2025-12058 (layers that read a vocabulary from a path or URL),
CVE-2026-1462 (layers that run a SavedModel). So tlkit lets in named kinds only: layers and
operations from Keras' own modules of such, activation functions, and what an installed package has
registered.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlkit.archives import BOMB_BYTES, BOMB_RATIO, check_zip
from tlkit.errors import UnsafeFileError
from tlkit.limits import limit, raise_with

if TYPE_CHECKING:
    import keras

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = (CONFIG, "metadata.json", WEIGHTS)
# The config of EfficientNetV2L, the longest of keras.applications, has a megabyte.
MAX_CONFIG_BYTES = 64 * 2**20
MAX_DEPTH = 100

# Where the classes that a config may name are defined. Not among them: Lambda, the layers that wrap
# a SavedModel, a torch module or a JAX function, and those that read a vocabulary from a file.
_MODULES = tuple(
    f"keras.src.{name}"
    for name in (
        "applications.convnext",
        "constraints.",
        "dtype_policies.",
        "initializers.",
        "layers.activations.",
        "layers.attention.",
        "layers.convolutional.",
        "layers.core.dense",
        "layers.core.einsum_dense",
        "layers.core.embedding",
        "layers.core.identity",
        "layers.core.input_layer",
        "layers.core.masking",
        "layers.core.reversible_embedding",
        "layers.merging.",
        "layers.normalization.",
        "layers.pooling.",
        "layers.preprocessing.category_encoding",
        "layers.preprocessing.image_preprocessing.",
        "layers.preprocessing.normalization",
        "layers.preprocessing.rescaling",
        "layers.regularization.",
        "layers.reshaping.",
        "losses.",
        "metrics.",
        "models.functional",
        "models.model",
        "models.sequential",
        "ops.",
        "optimizers.",
        "random.seed_generator",
        "regularizers.",
    )
)
# Networks of KerasHub name their own classes, which Keras imports.
_HUB = ("keras_hub.src.layers.", "keras_hub.src.models.")
_PUBLIC = frozenset(
    f"keras{name}"
    for name in (
        *("", ".constraints", ".dtype_policies", ".initializers", ".layers", ".losses"),
        *(".metrics", ".models", ".optimizers", ".random", ".regularizers"),
    )
)
_HUB_REFUSED = (
    "preprocess",
    "tokenizer",
    "converter",
    "task",
    "classifier",
    "causal_lm",
    "segment",
)
# Plain data that Keras writes in the form of an object.
_DATA = frozenset(("__keras_tensor__", "__tensor__", "__numpy__", "__ellipsis__", "__slice__"))


def load_model_file(path: Path) -> keras.Model:
    """Load a .keras or .h5 file, uncompiled, after checking what it names.

    Raises:
        UnsafeFileError: If the file holds more than a model of known kinds.
        Exception: Whatever a damaged file makes Keras raise.
    """
    check_model_file(path)
    import keras

    return keras.models.load_model(path, compile=False, safe_mode=True)


def check_model_file(path: Path) -> None:
    """Check a .keras or .h5 file without building anything in it.

    Raises:
        UnsafeFileError: If it names a class or a function that no image classifier needs, or its
            parts are not those that Keras writes.
        OSError: If it cannot be read.
    """
    try:
        if path.suffix == ".keras":
            _check_keras(path, with_model=True)
        else:
            _check_h5(str(path), with_model=True)
    except UnsafeFileError as err:
        raise UnsafeFileError(f"{path} is refused: {err}.") from err


def check_weights(path: Path) -> None:
    """Check a file of weights: .h5, or .keras, whose config is left alone.

    Raises:
        UnsafeFileError: If it leads to other files, or would unpack to more than it should. The
            message begins with "it".
        OSError: If it cannot be read.
    """
    if path.suffix == ".keras":
        _check_keras(path, with_model=False)
    else:
        _check_h5(str(path), with_model=False)


def _check_keras(path: Path, *, with_model: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        check_zip(archive, MEMBERS)
        missing = [name for name in (CONFIG, WEIGHTS) if name not in archive.namelist()]
        if missing:
            raise UnsafeFileError(f"it has no {missing[0]}")
        if with_model:
            if archive.getinfo(CONFIG).file_size > MAX_CONFIG_BYTES:
                raise UnsafeFileError(f"its {CONFIG} has more than {MAX_CONFIG_BYTES:,} bytes")
            check_model_config(archive.read(CONFIG))
        with archive.open(WEIGHTS) as weights:
            _check_h5(weights, with_model=False)


def _check_h5(source: Any, *, with_model: bool) -> None:
    import h5py

    with h5py.File(source, "r") as file:
        total = 0
        for name, dataset in _datasets(file, h5py):
            if dataset.external or dataset.is_virtual:
                raise UnsafeFileError(f"its array {name!r} is kept in another file")
            size = dataset.size * dataset.dtype.itemsize if dataset.shape else 0
            stored = dataset.id.get_storage_size()
            if size > max(BOMB_BYTES, BOMB_RATIO * stored):
                raise UnsafeFileError(
                    f"its array {name!r} would unpack from {stored:,} to {size:,} bytes"
                )
            total += size
        most = limit("TLKIT_MAX_FILE_BYTES")
        if total > most:
            raise UnsafeFileError(
                f"its arrays have {total:,} bytes, more than {most:,}. "
                f"{raise_with('TLKIT_MAX_FILE_BYTES')}"
            )
        if with_model:
            config = file.attrs.get("model_config")
            if config is None:
                raise UnsafeFileError("it holds no model")
            check_model_config(config)


def _datasets(file: Any, h5py: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a file; refuse all links but plain ones."""
    waiting, seen = [("", file)], set()
    while waiting:
        path, group = waiting.pop()
        for key in group:
            name = f"{path}/{key}"
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UnsafeFileError(f"its {name!r} is a link to something else")
            item = group[key]
            if item.id in seen:
                raise UnsafeFileError(f"its {name!r} is there under another name too")
            seen.add(item.id)
            if isinstance(item, h5py.Group):
                waiting.append((name, item))
            elif isinstance(item, h5py.Dataset):
                yield name, item
            else:
                raise UnsafeFileError(f"its {name!r} is a {type(item).__name__}")


def check_model_config(text: str | bytes) -> set[Any]:
    """Check everything that a model's config names.

    Args:
        text: JSON, as Keras writes it.

    Returns:
        The classes and functions that are neither Keras' nor KerasHub's.

    Raises:
        UnsafeFileError: If something is named that is not let in; the message begins with "it".
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise UnsafeFileError(f"its config is no JSON: {err}") from err
    if not isinstance(config, dict):
        raise UnsafeFileError("its config describes no model")
    # Keras drops it, since the model is loaded without being compiled.
    config.pop("compile_config", None)
    own: set[Any] = set()
    waiting: list[tuple[Any, int]] = [(config, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UnsafeFileError(f"its config is nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            if "class_name" in value:
                own |= _check_named(value)
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
    return own


def _check_named(item: dict[str, Any]) -> set[Any]:
    """Return what is named, if it is neither Keras' nor KerasHub's."""
    name, module = item["class_name"], item.get("module")
    registered = item.get("registered_name")
    for text in (name, module, registered):
        if text is not None and not isinstance(text, str):
            raise UnsafeFileError(f"it names {text!r}, which is no name")
    if name == "function":
        return _check_function(item)
    if name not in _DATA:
        found = _resolve(name, module, registered)
        if found is None or not _is_allowed(found):
            shown = ".".join(text for text in (module, name) if text)
            raise UnsafeFileError(
                f"it names {shown}, which is not allowed in a model: allowed are layers of image "
                f"networks of Keras and KerasHub, and what an installed package registers with "
                f"keras.saving.register_keras_serializable(), in a module that its plugin names in "
                f"`modules`"
            )
        return set() if found.__module__.startswith(("keras.", "keras_hub.")) else {found}
    return set()


def _check_function(item: dict[str, Any]) -> set[Any]:
    import keras

    name = item.get("config")
    if isinstance(name, str):
        registered = keras.saving.get_registered_object(name)
        if registered is not None:
            return {registered}
        function = getattr(keras.activations, name, None)
        if item.get("module") in ("builtins", "keras.activations") and callable(function):
            return set()
    raise UnsafeFileError(
        f"it names the function {item.get('module')}.{name}, which is not allowed in a model: "
        f"allowed are Keras' activations"
    )


def _resolve(name: str, module: str | None, registered: str | None) -> Any:
    """Return the class that Keras would take, or None."""
    import keras

    for key in (registered, name):
        found = None if key is None else keras.saving.get_registered_object(key)
        if found is not None:
            return found
    if module is None:  # as the .h5 format writes it
        modules = ["keras.layers", "keras.src.models", "keras.initializers", "keras.regularizers"]
        modules += ["keras.constraints", "keras.dtype_policies"]
    elif module in _PUBLIC or module.startswith(_MODULES) or _is_of_hub(module):
        modules = [module]
    else:
        return None
    for text in modules:
        try:
            found = vars(importlib.import_module(text)).get(name)
        except ImportError:
            continue
        if found is not None:
            return found
    return None


def _is_of_hub(module: str) -> bool:
    return module.startswith(_HUB) and not any(word in module for word in _HUB_REFUSED)


def _is_allowed(found: Any) -> bool:
    """Return whether a class is one of those that models are made of."""
    import keras

    if not isinstance(found, type):
        return False
    where = found.__module__
    if where.startswith("keras."):
        return where.startswith(_MODULES)
    if where.startswith("keras_hub."):
        return _is_of_hub(where) and issubclass(found, keras.layers.Layer)
    # What a package registers, which is code that its user has installed.
    return issubclass(
        found,
        keras.Operation
        | keras.initializers.Initializer
        | keras.regularizers.Regularizer
        | keras.constraints.Constraint,
    )
