"""Which of KerasHub's backbone classes are image backbones, and what each one gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Output = Literal["maps", "tokens", "pooled"]
Size = Literal["any", "multiple", "fixed"]


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: The class in ``keras_hub.models``.
        output: "maps": feature maps (N, h, w, channels). "tokens": a sequence
            (N, tokens, channels). "pooled": a vector (N, channels) that the network pools from its
            patch tokens by itself.
        size: Image sizes that its pretrained weights take: "any"; "multiple" of a patch or stride;
            or "fixed" by position embeddings that KerasHub does not resize.
        class_tokens: How many tokens come before the registers and the patches.
        part: The attribute that holds the image encoder, where the class has more than that.
        after: The attribute of a layer that the whole model applies to its encoder's tokens.
    """

    name: str
    output: Output
    size: Size
    class_tokens: int = 0
    part: str = ""
    after: str = ""


FAMILIES = {
    family.name: family
    for family in (
        Family("CSPNetBackbone", "maps", "any"),
        Family("DenseNetBackbone", "maps", "any"),
        Family("EfficientNetBackbone", "maps", "any"),
        Family("HGNetV2Backbone", "maps", "any"),
        Family("MobileNetBackbone", "maps", "any"),
        Family("MobileNetV5Backbone", "maps", "any"),
        Family("ResNetBackbone", "maps", "any"),
        Family("VGGBackbone", "maps", "any"),
        Family("XceptionBackbone", "maps", "any"),
        Family("MiTBackbone", "maps", "multiple"),
        Family("SwinTransformerBackbone", "tokens", "multiple"),
        Family("DINOV2Backbone", "tokens", "multiple", class_tokens=1),
        Family("DINOV3Backbone", "tokens", "multiple", class_tokens=1),
        Family("ViTBackbone", "tokens", "fixed", class_tokens=1),
        Family("DeiTBackbone", "tokens", "fixed", class_tokens=2),
        Family("CLIPBackbone", "tokens", "fixed", class_tokens=1, part="vision_encoder"),
        Family(
            "MetaCLIP2Backbone",
            "tokens",
            "fixed",
            class_tokens=1,
            part="vision_encoder",
            after="vision_post_layer_norm",
        ),
        Family("SigLIPBackbone", "pooled", "fixed", part="vision_encoder"),
        Family("SAMBackbone", "maps", "fixed", part="image_encoder"),
    )
}

_DENSE = "made for dense prediction: its decoder wants several levels of its encoder"
_LANGUAGE = "a language model that reads images; its vision tower feeds the language model"
REFUSED = {
    "BASNetBackbone": _DENSE,
    "DeepLabV3Backbone": _DENSE,
    "DepthAnythingBackbone": _DENSE,
    "SegFormerBackbone": f"{_DENSE}; its encoder is a MiTBackbone, whose presets work",
    "RetinaNetBackbone": "an object detector: a pyramid of maps, none of which is its last",
    "DFineBackbone": "an object detector: it gives boxes",
    "SAM3PromptableConceptBackbone": "it segments what a text prompt names",
    "PARSeqBackbone": "it reads text in images of 32 x 128 pixels",
    "VideoPrismBackbone": "it takes videos",
    "BLIP2Backbone": _LANGUAGE,
    "Gemma3Backbone": _LANGUAGE,
    "Gemma3nBackbone": _LANGUAGE,
    "Gemma4Backbone": _LANGUAGE,
    "PaliGemmaBackbone": _LANGUAGE,
    "Qwen3_5Backbone": _LANGUAGE,
    "Qwen3_5MoeBackbone": _LANGUAGE,
    "T5Gemma2Backbone": _LANGUAGE,
}
"""Classes that take images and are no image backbones, with the reason."""


def why_not(class_name: str) -> str:
    """Say in a few words why a class of KerasHub cannot be used."""
    return REFUSED.get(class_name, "it is no image backbone that tlkit-kerashub knows")


def find_class(name: str) -> Any:
    """Return a class of ``keras_hub.models`` by its name."""
    import keras_hub

    return getattr(keras_hub.models, name)
