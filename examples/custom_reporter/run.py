from tlkit import Reporter, Trainer


class OneLine(Reporter):
    """One line for each epoch."""

    name = "one_line"

    def on_epoch_end(self, phase, epoch, metrics, seconds, **kwargs):
        print(f"{phase.name} {epoch}: {metrics['val_accuracy']:.1%} in {seconds:.2f} s")

    def on_run_end(self, result, **kwargs):
        print(f"test accuracy {result.accuracy:.1%}, saved in {result.folder}")


if __name__ == "__main__":
    backbone = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "cifar10"}
    Trainer(backbone=backbone, dataset="digits", reporters=[OneLine()]).run()
