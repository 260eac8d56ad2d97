"""DatasetSource: where labelled images come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from tlkit.errors import PluginError
from tlkit.plugin import Plugin
from tlkit.plugin_calls import describe_plugin, plugin_call
from tlkit.records import ImageData


class DatasetSource(Plugin, ABC):
    """Loads labelled images; its constructor's keywords are the keys that a config may set."""

    kind: ClassVar[str] = "dataset"

    @abstractmethod
    def load(self, seed: int) -> ImageData:
        """Load the images.

        Args:
            seed: Seed of whatever is drawn at random, such as a test split. The same seed gives
                the same data.

        Returns:
            Training and test images, uint8 RGB 0 to 255, with their class names.

        Raises:
            DataError: If the data is missing or broken.
        """


def load_data(source: DatasetSource, seed: int) -> ImageData:
    """Return what a source loads.

    Args:
        source: The dataset plugin.
        seed: Seed of whatever is drawn at random.

    Raises:
        DataError: If the data is missing or broken.
        PluginError: If the plugin fails, or returns something else.
    """
    with plugin_call(source, "load()"):
        data = source.load(seed)
    if not isinstance(data, ImageData):
        raise PluginError(
            f"{describe_plugin(source)} returned {type(data).__name__} from load(); allowed: "
            f"ImageData."
        )
    return data
