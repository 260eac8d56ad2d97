"""Test-time augmentation: fixed views of an image whose logits the model averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tlkit.errors import ConfigError

LEAST_SCALE, MOST_SCALE = 0.5, 2.0


@dataclass(frozen=True)
class FixedView:
    """One way to look at an image; the default is the image itself.

    Attributes:
        mirrored: Whether it is mirrored left to right.
        scale: How large the picture's contents are drawn: above 1 the middle of the picture is
            enlarged, below 1 the picture is shrunk and its border filled with its reflection.
    """

    mirrored: bool = False
    scale: float = 1.0

    @property
    def label(self) -> str:
        """What the view is called in reports; empty for the image itself."""
        scale = f"scale {self.scale:g}" if self.scale != 1 else ""
        return ", ".join(part for part in (scale, "mirrored" if self.mirrored else "") if part)

    def of(self, images: Any, interpolation: str) -> Any:
        """Return this view of square images.

        Args:
            images: float32 (N, size, size, 3), a tensor or a Keras tensor; any range of values.
            interpolation: As of ``keras.layers.Resizing``.
        """
        import keras

        size = images.shape[1]
        resized = {"interpolation": interpolation, "antialias": True}
        if self.scale > 1:
            side = round(size / self.scale)
            images = keras.layers.CenterCrop(side, side)(images)
            images = keras.layers.Resizing(size, size, **resized)(images)
        elif self.scale < 1:
            side = round(size * self.scale)
            before = (size - side) // 2
            border = (before, size - side - before)
            images = keras.layers.Resizing(side, side, **resized)(images)
            images = keras.ops.pad(images, ((0, 0), border, border, (0, 0)), mode="reflect")
        return keras.ops.flip(images, axis=2) if self.mirrored else images


PLAIN = FixedView()


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Which views of each image the model averages the logits of.

    The head is trained on all of them. Averaging over mirrored and scaled images is as old as
    AlexNet's ten crops (Krizhevsky et al. 2012, section 4.1).

    Attributes:
        mirror: Whether each view is also mirrored left to right.
        scales: Scales beside 1, each 0.5 to 2; see ``FixedView``.
    """

    __test__ = False  # no test class, whatever pytest makes of its name

    mirror: bool = False
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the scales.

        Raises:
            ConfigError: If one is out of range, 1, or there twice.
        """
        object.__setattr__(self, "scales", tuple(self.scales))
        for scale in self.scales:
            if not LEAST_SCALE <= scale <= MOST_SCALE or scale == 1:
                raise ConfigError(
                    f"[test_time_augmentation] scales = {list(self.scales)} is not allowed: each "
                    f"{LEAST_SCALE:g} to {MOST_SCALE:g}, without 1, which is always there."
                )
        if len(set(self.scales)) < len(self.scales):
            raise ConfigError(
                f"[test_time_augmentation] scales = {list(self.scales)} is not allowed: each once."
            )

    @property
    def views(self) -> tuple[FixedView, ...]:
        """The views, the image itself first."""
        sides = (False, True) if self.mirror else (False,)
        return tuple(FixedView(side, scale) for scale in (1.0, *self.scales) for side in sides)


def resizer_of_view(
    view: FixedView, size: int, interpolation: str, resize: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """Return a function that resizes pixels and then takes a view of them, as the model does.

    Args:
        view: The view.
        size: The side that images are resized to, in pixels.
        interpolation: The backbone's.
        resize: What ``tlkit.resizing.make_resizer()`` returned.
    """
    if view == PLAIN:
        return resize
    import tensorflow as tf

    @tf.function(  # type: ignore[untyped-decorator]
        jit_compile=False, input_signature=[tf.TensorSpec((None, size, size, 3), tf.float32)]
    )
    def look(pixels: Any) -> Any:
        return view.of(pixels, interpolation)

    return lambda pixels: look(tf.cast(resize(pixels), tf.float32)).numpy()
