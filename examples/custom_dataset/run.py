import numpy as np

from tlkit import DatasetSource, ImageData, Split, Trainer


class Stripes(DatasetSource):
    """Stripes across or down."""

    name = "stripes"

    def load(self, seed):
        images = np.random.default_rng(seed).integers(0, 99, (400, 16, 16, 3)).astype(np.uint8)
        labels = np.arange(400) % 2
        images[labels == 0, ::2] += 120  # across
        images[labels == 1, :, ::2] += 120  # down
        train, test = Split(images[:300], labels[:300]), Split(images[300:], labels[300:])
        return ImageData(train, test, class_names=("across", "down"))


if __name__ == "__main__":
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10"}
    Trainer(backbone=backbone, dataset=Stripes()).run()
