import keras

from tlkit import Backbone, Trainer


class TwoConvolutions(Backbone):
    name = "two_convolutions"

    def build(self):
        size = (self.image_size, self.image_size, 3)
        conv = [keras.layers.Conv2D(n, 3, 2, activation="relu") for n in (16, 32)]
        return keras.Sequential([keras.Input(size), *conv])

    def preprocess(self, images):
        return keras.layers.Rescaling(1 / 255)(images)


if __name__ == "__main__":
    Trainer(backbone=TwoConvolutions(image_size=16), head="dense", dataset="digits").run()
