from tlkit import Backbone, Trainer


class TwoConvolutions(Backbone):
    """Two convolutions with random weights."""

    name = "two_convolutions"

    def __init__(self, image_size: int = 16):
        super().__init__(image_size, weights="random")

    def build(self):
        import keras

        size = (self.image_size, self.image_size, 3)
        conv = [keras.layers.Conv2D(n, 3, 2, activation="relu") for n in (16, 32)]
        return keras.Sequential([keras.Input(size), *conv])

    def preprocess(self, images):
        import keras

        return keras.layers.Rescaling(1 / 255)(images)


if __name__ == "__main__":
    # Random weights know nothing yet: after one epoch of the head all of the network is trained.
    training = {"epochs": 1, "fine_tune_epochs": 20, "fine_tune_learning_rate": 1e-2}
    workflow = {"name": "freeze_and_train", **training}
    Trainer(backbone=TwoConvolutions(), dataset="digits", workflow=workflow).run()
