from tlkit import Head, Trainer


class Cosine(Head):
    """The cosine of the angle between features and a learned direction for each class."""

    name = "cosine"

    def build(self, feature_shape, num_classes):
        import keras

        x = inputs = keras.Input(feature_shape)
        x = keras.layers.UnitNormalization()(x)
        x = keras.layers.Rescaling(16.0)(x)
        kernel = keras.constraints.UnitNorm()
        x = keras.layers.Dense(num_classes, use_bias=False, kernel_constraint=kernel)(x)
        return keras.Model(inputs, x)


if __name__ == "__main__":
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10"}
    Trainer(backbone=backbone, head=Cosine(), dataset="digits").run()
