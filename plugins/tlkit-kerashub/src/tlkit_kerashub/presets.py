"""Presets: finding them, reading what they say of themselves, saying what is missing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkit import (
    UnsafeFileError,
    WeightsError,
    check_model_config,
    check_weights,
    did_you_mean,
    expand_home,
    printable,
)
from tlkit_kerashub.families import FAMILIES, Family, find_class, why_not

LISTING = "`python -m tlkit_kerashub` lists the names."
DEFAULT_SIZE = 224
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@dataclass(frozen=True)
class Preset:
    """What a preset says of itself before its weights are read.

    Attributes:
        name: As the config gives it.
        source: What KerasHub is asked for: the same, or the folder that holds it.
        family: The row of the table.
        backbone_class: The class in KerasHub.
        converter: Its ``keras_hub.layers.ImageConverter``; None if it has none.
        image_size: Side in pixels that it was made for.
        multiple: What the side must be a multiple of; 0 if it must be ``image_size``.
    """

    name: str
    source: str
    family: Family
    backbone_class: Any
    converter: Any
    image_size: int
    multiple: int


@dataclass(frozen=True)
class Listed:
    """A preset that is built into KerasHub.

    Attributes:
        name: Its name.
        family: The class that it belongs to.
        parameters: Number of parameters of the whole preset, text towers included.
        handle: Its handle at Kaggle, version included.
        folder: The folder that holds it; None if it is not on this machine.
    """

    name: str
    family: str
    parameters: int
    handle: str
    folder: Path | None


def list_presets() -> list[Listed]:
    """Return all presets of the supported families, by family and number of parameters."""
    found = []
    for name in FAMILIES:
        for preset, record in find_class(name).presets.items():
            parameters = int(record.get("metadata", {}).get("params") or 0)
            handle = str(record["kaggle_handle"]).removeprefix("kaggle://")
            folder = _cache_folder(handle)
            on_disk = folder if _is_on_disk(folder) else None
            found.append(Listed(preset, name, parameters, handle, on_disk))
    return sorted(found, key=lambda item: (item.family, item.parameters, item.name))


def read_preset(name: str) -> Preset:
    """Read a preset's configuration; its weights are left alone.

    Args:
        name: A built-in name, a handle such as "hf://...", or a folder.

    Raises:
        WeightsError: If there is no such preset, its files cannot be had, or it is of no use here.
    """
    source = _find_source(name)
    # No public name tells the class of a preset without building the network, which for a language
    # model takes gigabytes.
    from keras_hub.src.utils.preset_utils import get_preset_loader

    try:
        loader = get_preset_loader(source)
        backbone_class = loader.check_backbone_class()
    except Exception as err:
        raise _missing(name, err) from err
    family = FAMILIES.get(backbone_class.__name__)
    if family is None:
        raise WeightsError(
            f"[backbone] preset = '{name}' is a {backbone_class.__name__}: "
            f"{why_not(backbone_class.__name__)}. {LISTING}"
        )
    _refuse_what_is_no_network(name, source, loader.config)
    converter = _read_converter(name, source)
    options = _image_options(loader.config, family)
    return Preset(
        name,
        source,
        family,
        backbone_class,
        converter,
        _native_size(converter, options, family),
        _multiple(options, family),
    )


def _refuse_what_is_no_network(name: str, source: str, config: Mapping[str, Any]) -> None:
    """Check what a preset names, and the weights of a folder, before KerasHub reads them."""
    try:
        if "class_name" in config:  # as Keras writes it; other libraries' configs name no classes
            check_model_config(json.dumps(config))
        if "://" not in source:
            for file in sorted(Path(source).glob("*.weights.h5")):
                check_weights(file)
    except UnsafeFileError as err:
        raise WeightsError(f"[backbone] preset = '{name}' is refused: {err}.") from err
    except OSError as err:
        raise _missing(name, err) from err


def load_network(preset: Preset, image_size: int, *, weights: bool) -> Any:
    """Build a preset's network for images of one size where it can be chosen.

    Returns:
        An object of ``preset.backbone_class``.

    Raises:
        WeightsError: If the weights cannot be had or do not fit.
    """
    import inspect

    options = {}
    if preset.family.size != "fixed":
        accepted = inspect.signature(preset.backbone_class.__init__).parameters
        shape = next(key for key in ("image_shape", "input_shape") if key in accepted)
        options[shape] = (image_size, image_size, 3)
    try:
        network = preset.backbone_class.from_preset(preset.source, load_weights=weights, **options)
    except Exception as err:
        raise _missing(preset.name, err) from err
    return _settle_positions(network) if preset.family.name == "DINOV2Backbone" else network


def _settle_positions(network: Any) -> Any:
    """Make the position embeddings for this image size the ones that DINOv2 keeps.

    It keeps those for the size that it was pretrained at, and resizes them there and back when it
    is saved and loaded. So one that was fine-tuned at another size would not be what was saved.
    """
    if tuple(network.position_embedding_shape[:2]) == tuple(network.image_shape[:2]):
        return network
    config = network.get_config() | {"position_embedding_shape": network.image_shape}
    settled = type(network).from_config(config)
    for new, old in zip(settled.weights, network.weights, strict=True):
        if new is not settled.embeddings.position_embeddings:
            new.assign(old)
    settled.embeddings.position_embeddings.assign(
        network.embeddings.interpolated_position_embeddings
    )
    return settled


def _find_source(name: str) -> str:
    import keras_hub

    if "://" in name:
        return name
    known = keras_hub.models.Backbone.presets
    if name in known:
        handle = str(known[name]["kaggle_handle"]).removeprefix("kaggle://")
        folder = _cache_folder(handle)
        return str(folder) if _is_whole(folder) else name
    folder = expand_home(name)
    if folder.is_dir():
        return str(folder)
    raise WeightsError(
        f"[backbone] preset = '{name}' is no preset of KerasHub {keras_hub.__version__} and no "
        f"folder.{did_you_mean(name, [item.name for item in list_presets()])} Allowed: a name, "
        f"'hf://...', 'kaggle://...', or the path of a folder. {LISTING}"
    )


def _cache_folder(handle: str) -> Path:
    from kagglehub.config import get_cache_folder

    return Path(get_cache_folder()) / "models" / handle


def _is_whole(folder: Path) -> bool:
    """Return whether kagglehub fetched a preset as a whole.

    KerasHub asks kagglehub for single files, and for each of these kagglehub looks for a marker
    that a download as a whole does not leave; so it would fetch again what is there.
    """
    return (folder / CONFIG).is_file() and folder.with_name(f"{folder.name}.complete").exists()


def _is_on_disk(folder: Path) -> bool:
    single = folder.parent / ".complete" / folder.name
    return _is_whole(folder) or (
        (folder / WEIGHTS).is_file() and (single / f"{WEIGHTS}.complete").exists()
    )


def _read_converter(name: str, source: str) -> Any:
    import keras_hub

    try:
        return keras_hub.layers.ImageConverter.from_preset(source)
    except FileNotFoundError:
        return None
    except Exception as err:
        raise _missing(name, err) from err


def _image_options(config: dict[str, Any], family: Family) -> dict[str, Any]:
    """Return the options of the image encoder, from KerasHub's or the transformers format."""
    options: dict[str, Any] = config.get("config", config)
    if family.part in options:
        return dict(options[family.part]["config"])
    return dict(options.get("vision_config", options))


def _native_size(converter: Any, options: dict[str, Any], family: Family) -> int:
    shape = options.get("image_shape") or options.get("input_shape") or options.get("image_size")
    built = shape[0] if isinstance(shape, list | tuple) else shape
    wanted = None if converter is None else converter.image_size
    if family.size == "fixed" and built:
        return int(built)
    return int(wanted[0] if wanted else built or DEFAULT_SIZE)


def _multiple(options: dict[str, Any], family: Family) -> int:
    if family.size != "multiple":
        return 0 if family.size == "fixed" else 1
    if "layerwise_strides" in options:
        return int(math.prod(options["layerwise_strides"]))
    patch = int(options["patch_size"])
    if "window_size" in options:  # each stage of a Swin transformer but the last halves the map
        halvings: int = 2 ** (len(options["depths"]) - 1)
        return patch * halvings * int(options["window_size"])
    return patch


def _missing(name: str, err: Exception) -> WeightsError:
    import keras_hub

    reason = printable(str(err))
    known = keras_hub.models.Backbone.presets
    scheme, _, handle = name.partition("://")
    if name in known:
        scheme, _, handle = str(known[name]["kaggle_handle"]).partition("://")
    if not handle:
        return WeightsError(
            f"[backbone] preset = '{name}' cannot be read: {reason}\n"
            f"Allowed: a folder that KerasHub's save_to_preset() wrote (config.json, "
            f"image_converter.json, model.weights.h5), or one of a timm or transformers model "
            f"(config.json, model.safetensors)."
        )
    if scheme == "kaggle":
        fetch = f"python -c \"import kagglehub; print(kagglehub.model_download('{handle}'))\""
        cache = f"KAGGLEHUB_CACHE (now {_cache_folder('').parent})"
    elif scheme == "hf":
        fetch = f"hf download {handle} --local-dir FOLDER"
        home = os.environ.get("HF_HOME", "~/.cache/huggingface")
        cache = f"HF_HOME (now {home}) and HF_HUB_OFFLINE=1"
    else:
        return WeightsError(f"Cannot get the KerasHub preset '{name}': {reason}")
    return WeightsError(
        f"Cannot get the KerasHub preset '{name}': {reason}\n"
        f"Without internet, fetch it where there is some:\n"
        f"    {fetch}\n"
        f"copy that folder to this machine, and set [backbone] preset to its path. Or copy the "
        f"whole cache and set {cache}."
    )
