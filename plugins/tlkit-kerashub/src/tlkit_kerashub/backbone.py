"""The backbone "kerashub"."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from tlkit import Backbone, ConfigError, PluginError, WeightsError
from tlkit_kerashub.presets import Preset, load_network, read_preset

if TYPE_CHECKING:
    import keras

Tokens = Literal["auto", "class", "patches"]
Weights = Literal["preset", "random"]


class KerasHub(Backbone):
    """An image backbone of KerasHub, by preset: ViT, DINOv2, SigLIP, Swin, timm, ..."""

    name: ClassVar[str] = "kerashub"
    modules: ClassVar[tuple[str, ...]] = ("keras_hub",)

    def __init__(
        self,
        preset: str,
        image_size: int | None = None,
        weights: Weights = "preset",
        tokens: Tokens = "auto",
    ) -> None:
        """Set what to build.

        Args:
            preset: The name of a preset that is built into KerasHub, such as
                "vit_base_patch16_224_imagenet"; "hf://..." or "kaggle://..."; or the path of a
                folder with a preset, a timm or a transformers model.
            image_size: Side of the square input in pixels; by default that of the preset.
            weights: "preset", or "random", for which config.json alone is enough.
            tokens: What a network that gives tokens hands to the head. "class": its class token, or
                what it pools by itself, as a map of one pixel. "patches": its patch tokens as a map
                (h, w). "auto": the class token where there is one.

        Raises:
            ConfigError: If there are no such tokens.
            WeightsError: If the weights are neither.
        """
        if tokens not in get_args(Tokens):
            raise ConfigError(
                f"Unknown tokens {tokens!r} of preset '{preset}'. Allowed: "
                f"{', '.join(map(repr, get_args(Tokens)))}."
            )
        if weights not in get_args(Weights):
            raise WeightsError(
                f"Unknown weights {weights!r} of preset '{preset}'. Allowed: "
                f"{', '.join(map(repr, get_args(Weights)))}. Others are presets of their own."
            )
        self.preset, self.weights, self.tokens = preset, weights, tokens
        self._image_size = image_size

    @cached_property
    def description(self) -> Preset:
        """What the preset says of itself; read once, when it is first needed.

        Raises:
            WeightsError: If its files cannot be had.
        """
        return read_preset(self.preset)

    @property
    def image_size(self) -> int:  # type: ignore[override]
        """Side in pixels to which tlkit resizes every image."""
        return self.description.image_size if self._image_size is None else self._image_size

    @property
    def interpolation(self) -> str:  # type: ignore[override]
        """How images are resized: as the preset's image converter says."""
        converter = self.description.converter
        return "bilinear" if converter is None else str(converter.interpolation)

    def build(self) -> keras.Model:
        """Build the network and load its weights.

        Returns:
            A model from preprocessed images to feature maps. The network of KerasHub is one layer
            of it, so that Keras saves and loads it through KerasHub's own class.

        Raises:
            ConfigError: If the network does not take images of this size, or has no such tokens.
            WeightsError: If the preset's files cannot be had.
        """
        import keras

        preset = self.description
        if self.weights == "preset" and preset.converter is None:
            raise WeightsError(
                f"[backbone] preset = '{self.preset}' does not say what pixels its weights were "
                f"trained on: it has no image converter. Put an image_converter.json beside its "
                f"config.json: ImageConverter(...).save_to_preset(FOLDER) of KerasHub writes one."
            )
        self._check_size()
        whole = load_network(preset, self.image_size, weights=self.weights == "preset")
        encoder = getattr(whole, preset.family.part) if preset.family.part else whole
        network = encoder
        if preset.family.output == "pooled" and self.tokens == "patches":
            network = _without_pooling(encoder)
        inputs = keras.Input((self.image_size, self.image_size, 3), name="preprocessed")
        names = network.input
        features = network(dict.fromkeys(names, inputs) if isinstance(names, dict) else inputs)
        if isinstance(features, dict):
            features = features.get("sequence_output", list(features.values())[-1])
        if preset.family.after:
            features = getattr(whole, preset.family.after)(features)
        return keras.Model(inputs, self._to_maps(features, encoder), name=self.name)

    def preprocess(self, images: Any) -> Any:
        """Bring pixels into the range that the preset's image converter gives."""
        import keras

        converter = self.description.converter
        if converter is None:  # only with random weights, for which any range does
            return keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(images)
        scale = 1.0 if converter.scale is None else converter.scale
        offset = 0.0 if converter.offset is None else converter.offset
        return keras.layers.Rescaling(scale, offset=offset, name="rescale")(images)

    def blocks(self, model: keras.Model) -> list[list[keras.layers.Layer]]:
        """Group layers: what embeds the image, then each transformer block, stage or the like."""
        from tlkit_kerashub.blocks import group_layers

        layers: list[Any] = []
        for layer in model.layers:
            layers += getattr(layer, "layers", None) or [layer]
        return group_layers(layers)

    def _check_size(self) -> None:
        size, preset = self.image_size, self.description
        where = f"[backbone] image_size = {size} is not allowed: preset '{self.preset}'"
        if preset.multiple == 0 and size != preset.image_size:
            raise ConfigError(
                f"{where} takes {preset.image_size} pixels and no other size, as KerasHub does not "
                f"resize the position embeddings of {preset.family.name}."
            )
        if size < 1 or (preset.multiple and size % preset.multiple):
            raise ConfigError(f"{where} takes multiples of {preset.multiple} pixels.")

    def _to_maps(self, features: Any, encoder: Any) -> Any:
        """Make maps (N, h, w, channels) of what the encoder gives, with plain Keras layers."""
        import keras

        family = self.description.family
        first = family.class_tokens if getattr(encoder, "use_class_token", True) else 0
        pools = family.output == "pooled" and self.tokens != "patches"
        has_class = pools or first > 0
        if self.tokens == "class" and not has_class:
            raise ConfigError(
                f"[backbone] tokens = 'class' is not allowed: preset '{self.preset}' has no class "
                f"token. Use 'auto' or 'patches'."
            )
        if len(features.shape) == 4:
            return features
        if len(features.shape) == 2:
            return keras.layers.Reshape((1, 1, features.shape[-1]), name="class_token")(features)
        count, channels = features.shape[1:]
        if family.output == "pooled":
            # KerasHub 0.32 declares one token too many, at which a Reshape layer would stumble.
            side = self.image_size // encoder.patch_size
            return keras.ops.reshape(features, (-1, side, side, channels))
        if has_class and self.tokens != "patches":
            cropped = keras.layers.Cropping1D((0, count - 1), name="first_token")(features)
            return keras.layers.Reshape((1, 1, channels), name="class_token")(cropped)
        first += getattr(encoder, "num_register_tokens", 0)
        side = math.isqrt(count - first)
        if side * side != count - first:
            raise PluginError(
                f"{type(encoder).__name__} gives {count} tokens, {first} of them before the "
                f"patches; the rest make no square. tlkit-kerashub does not know this version of "
                f"KerasHub."
            )
        if first:
            features = keras.layers.Cropping1D((first, 0), name="patches_only")(features)
        return keras.layers.Reshape((side, side, channels), name="patches")(features)


def _without_pooling(encoder: Any) -> Any:
    """Return the encoder up to its patch tokens; its last layer pools them."""
    import keras

    return keras.Model(encoder.input, encoder.layers[-1].input, name=f"{encoder.name}_patches")
