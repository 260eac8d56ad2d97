"""Every family of keras.applications, from one table.

Pixel ranges, sizes and layer names are those of the modules of ``keras.applications`` (Keras
3.15); networks marked "inside" bring their own preprocessing layers and want 0 to 255.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlkit import Backbone, ConfigError, WeightsError, check_weights, did_you_mean, expand_home
from tlkit.builtin.backbones.weights import keras_download, load_shipped

if TYPE_CHECKING:
    import keras

Range = Literal["[-1, 1]", "ImageNet mean and deviation", "BGR minus mean", "inside"]
Preprocessing = Literal["native", "unit"]


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: The registered name.
        builder: The name of the function in ``keras.applications``.
        pixels: What its ImageNet weights were trained on.
        native_size: Side in pixels that its ImageNet weights were trained at.
        least_size: The smallest side that the builder takes.
        block: Regular expression whose match in a layer's name tells the block it belongs to.
    """

    name: str
    builder: str
    pixels: Range
    native_size: int
    least_size: int
    block: str


_RESNET_BLOCK = r"conv\d_block\d+_"
_EFFICIENTNET_BLOCK = r"block\d[a-z]+_"
_VGG = "BGR minus mean"
_TORCH: Range = "ImageNet mean and deviation"
_ONE: Range = "[-1, 1]"
_INSIDE: Range = "inside"

MOBILENETS = (
    Family("mobilenet", "MobileNet", _ONE, 224, 32, r"(?<=conv_.._)\d+|(?<=conv_pad_)\d+"),
    Family("mobilenet_v2", "MobileNetV2", _ONE, 224, 32, r"block_\d+_"),
    Family("mobilenet_v3_small", "MobileNetV3Small", _INSIDE, 224, 32, r"expanded_conv(_\d+)?_"),
    Family("mobilenet_v3_large", "MobileNetV3Large", _INSIDE, 224, 32, r"expanded_conv(_\d+)?_"),
)
FAMILIES = (
    Family("vgg16", "VGG16", "BGR minus mean", 224, 32, r"block\d_"),
    Family("vgg19", "VGG19", "BGR minus mean", 224, 32, r"block\d_"),
    Family("resnet50", "ResNet50", "BGR minus mean", 224, 32, _RESNET_BLOCK),
    Family("resnet101", "ResNet101", "BGR minus mean", 224, 32, _RESNET_BLOCK),
    Family("resnet152", "ResNet152", "BGR minus mean", 224, 32, _RESNET_BLOCK),
    Family("resnet50_v2", "ResNet50V2", _ONE, 224, 32, _RESNET_BLOCK),
    Family("resnet101_v2", "ResNet101V2", _ONE, 224, 32, _RESNET_BLOCK),
    Family("resnet152_v2", "ResNet152V2", _ONE, 224, 32, _RESNET_BLOCK),
    Family("xception", "Xception", _ONE, 299, 71, r"block\d+_"),
    Family("inception_v3", "InceptionV3", _ONE, 299, 75, r"^mixed\d+$"),
    Family(
        "inception_resnet_v2",
        "InceptionResNetV2",
        _ONE,
        299,
        75,
        r"block\d+_\d+|^mixed_..$|conv_7b",
    ),
    Family("densenet121", "DenseNet121", _TORCH, 224, 32, r"conv\d_block\d+_"),
    Family("densenet169", "DenseNet169", _TORCH, 224, 32, r"conv\d_block\d+_"),
    Family("densenet201", "DenseNet201", _TORCH, 224, 32, r"conv\d_block\d+_"),
    Family("nasnet_mobile", "NASNetMobile", _ONE, 224, 32, r"(normal|reduction)_concat_.*"),
    Family("nasnet_large", "NASNetLarge", _ONE, 331, 32, r"(normal|reduction)_concat_.*"),
    *(
        Family(f"efficientnet_b{n}", f"EfficientNetB{n}", _INSIDE, size, 32, _EFFICIENTNET_BLOCK)
        for n, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))
    ),
    *(
        Family(
            f"efficientnet_v2_{n.lower()}",
            f"EfficientNetV2{n}",
            _INSIDE,
            size,
            32,
            _EFFICIENTNET_BLOCK,
        )
        for n, size in (
            ("B0", 224),
            ("B1", 240),
            ("B2", 260),
            ("B3", 300),
            ("S", 384),
            ("M", 480),
            ("L", 480),
        )
    ),
    *(
        Family(f"convnext_{n.lower()}", f"ConvNeXt{n}", _INSIDE, 224, 32, r"stage_\d+_block_\d+_")
        for n in ("Tiny", "Small", "Base", "Large", "XLarge")
    ),
)


class KerasApplication(Backbone):
    """A network of keras.applications."""

    family: ClassVar[Family]

    def __init__(
        self,
        image_size: int = 96,
        weights: str = "imagenet",
        preprocessing: Preprocessing = "native",
    ) -> None:
        """Set what to build.

        Args:
            image_size: Side of the square input in pixels. Larger is slower and, up to the size
                that the weights were trained at, more accurate.
            weights: "imagenet", "random", or the path of a Keras weights file (.h5 without top).
            preprocessing: "native" for the pixel range that the weights were trained on; "unit"
                for pixels / 255 whatever the weights want, as the original exercise does.

        Raises:
            ConfigError: If the image is too small for the network.
        """
        if image_size < self.family.least_size:
            raise ConfigError(
                f"[backbone] image_size = {image_size} is not allowed: {self.family.name} takes "
                f"{self.family.least_size} pixels or more."
            )
        super().__init__(image_size, weights)
        self.preprocessing = preprocessing

    def build(self) -> keras.Model:
        """Build the network of keras.applications and load its weights."""
        import keras

        builder = getattr(keras.applications, self.family.builder)
        shape = (self.image_size, self.image_size, 3)
        arguments = {"input_shape": shape, "include_top": False, **self._family_options()}
        if self.weights == "random":
            return builder(weights=None, **arguments)
        if self.weights == "imagenet":
            with keras_download(self.family.name), _size_is_known():
                return builder(weights="imagenet", **arguments)
        return self._load(builder(weights=None, **arguments))

    def preprocess(self, images: Any) -> Any:
        """Bring pixels into the range of the ImageNet weights, or into [0, 1] for "unit"."""
        import keras

        if self.preprocessing == "unit":
            return keras.layers.Rescaling(1 / 255, name="unit")(images)
        if self.family.pixels == "[-1, 1]":
            return keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(images)
        if self.family.pixels == "ImageNet mean and deviation":
            unit = keras.layers.Rescaling(1 / 255, name="unit")(images)
            mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
            variance = [value**2 for value in deviation]
            return keras.layers.Normalization(mean=mean, variance=variance, name="standardise")(
                unit
            )
        if self.family.pixels == "BGR minus mean":
            return _bgr_minus_mean(images)
        return images

    def blocks(self, model: keras.Model) -> list[list[keras.layers.Layer]]:
        """Group layers by the block that their names tell; what comes first is the stem."""
        pattern = re.compile(self.family.block)
        groups: list[tuple[str, list[Any]]] = [("", [])]
        for layer in model.layers:
            match = pattern.search(layer.name)
            if match and match.group(0) != groups[-1][0]:
                groups.append((match.group(0), []))
            groups[-1][1].append(layer)
        blocks: list[list[Any]] = []
        for _, layers in groups:
            if blocks and not any(layer.weights for layer in layers):
                blocks[-1].extend(layers)
            else:
                blocks.append(layers)
        return blocks

    def _family_options(self) -> dict[str, Any]:
        return {}

    def _load(self, model: keras.Model) -> keras.Model:
        path = expand_home(self.weights)
        if not path.is_file():
            known = self._known_weights()
            near = did_you_mean(self.weights, [name.strip("'") for name in known])
            raise WeightsError(
                f"[backbone] weights = '{self.weights}' is not known to {self.family.name} and is "
                f"no file.{near} Allowed: {', '.join(known)}, or the path of a weights file."
            )
        try:
            check_weights(path)
            with warnings.catch_warnings():
                # Keras names containers of its own that hold no weights.
                warnings.filterwarnings("ignore", message="Skipping nested container.*")
                model.load_weights(path)
        except Exception as err:
            raise WeightsError(
                f"Cannot load {path} into {self.family.name} without top: {err}. Wanted: weights "
                f"of this network without its top that Keras saved, such as a .weights.h5."
            ) from err
        return model

    def _known_weights(self) -> Sequence[str]:
        return ("'imagenet'", "'random'")


class MobileNet(KerasApplication):
    """A MobileNet of keras.applications, of any width."""

    def __init__(
        self,
        image_size: int = 96,
        weights: str = "imagenet",
        preprocessing: Preprocessing = "native",
        alpha: float = 1.0,
    ) -> None:
        """Set what to build.

        Args:
            image_size: Side of the square input in pixels.
            weights: "imagenet", "random", or the path of a Keras weights file (.h5 without top);
                mobilenet_v2 with alpha 0.35 also has "cifar10", which ships inside tlkit.
            preprocessing: "native" for the pixel range that the weights were trained on; "unit"
                for pixels / 255 whatever the weights want, as the original exercise does.
            alpha: Width of the network, above 0; ImageNet weights exist for some widths.
        """
        super().__init__(image_size, weights, preprocessing)
        if not alpha > 0:
            raise ConfigError(f"[backbone] alpha = {alpha} is not allowed: above 0.")
        self.alpha = alpha

    def build(self) -> keras.Model:
        """Build the network and load its weights."""
        if self.weights == "cifar10" and "cifar10" in str(self._known_weights()):
            import keras

            shape = (self.image_size, self.image_size, 3)
            model = keras.applications.MobileNetV2(
                shape, alpha=self.alpha, include_top=False, weights=None
            )
            return load_shipped(model, alpha=self.alpha)
        return super().build()

    def _family_options(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def _known_weights(self) -> Sequence[str]:
        shipped = ("'cifar10'",) if self.family.name == "mobilenet_v2" else ()
        return (*super()._known_weights(), *shipped)


def _bgr_minus_mean(images: Any) -> Any:
    """Swap the channels and subtract the ImageNet mean (Caffe's order) with one fixed layer.

    A slice would do as well, but it becomes an operation that the .h5 format cannot read back.
    """
    import keras
    import numpy as np

    swap = np.eye(3, dtype="float32")[::-1].reshape(1, 1, 3, 3)
    layer = keras.layers.Conv2D(3, 1, trainable=False, name="bgr_minus_mean")
    layer.build((None, None, None, 3))
    layer.set_weights([swap, -np.array((103.939, 116.779, 123.68), dtype="float32")])
    return layer(images)


def _size_is_known() -> Any:
    """Silence Keras' warning that it takes the 224-pixel weights for other sizes; so we want."""
    context = warnings.catch_warnings()
    warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square.*")
    return context


def _make_class(family: Family, base: type[KerasApplication]) -> type[KerasApplication]:
    title = f"{family.builder} of keras.applications ({family.native_size} pixels native)."
    return type(
        family.builder,
        (base,),
        {
            "name": family.name,
            "family": family,
            "__doc__": title,
            "__module__": __name__,
            "__qualname__": family.builder,
        },
    )


BACKBONES: tuple[type[KerasApplication], ...] = (
    *(_make_class(family, MobileNet) for family in MOBILENETS),
    *(_make_class(family, KerasApplication) for family in FAMILIES),
)
