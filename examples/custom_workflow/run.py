from tlkit import Trainer, Workflow


class TwoSpeeds(Workflow):
    """The head at one learning rate, then at a tenth of it."""

    name = "two_speeds"
    fine_tunes = False

    def run(self, session):
        import keras

        for rate in (1e-2, 1e-3):
            session.train_head(
                epochs=10, optimizer=keras.optimizers.Adam(rate), name=f"frozen at {rate}"
            )


if __name__ == "__main__":
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10"}
    Trainer(backbone=backbone, dataset="digits", workflow=TwoSpeeds()).run()
