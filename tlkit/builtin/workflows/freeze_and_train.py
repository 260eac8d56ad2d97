"""FreezeAndTrain: train the head on a frozen backbone, then fine-tune the last blocks if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tlkit import ConfigError, Workflow

if TYPE_CHECKING:
    from tlkit import Session


class FreezeAndTrain(Workflow):
    """Train the head on a frozen backbone, then optionally fine-tune the last blocks."""

    name: ClassVar[str] = "freeze_and_train"

    def __init__(
        self,
        epochs: int = 5,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        fine_tune_epochs: int = 0,
        unfreeze: int | Literal["all"] = 3,
        fine_tune_learning_rate: float = 1e-5,
    ) -> None:
        """Set the two phases; both use Adam.

        Args:
            epochs: Epochs of the frozen phase, 1 or more.
            batch_size: Images in one step, 1 or more.
            learning_rate: Of the frozen phase, above 0.
            fine_tune_epochs: Epochs of the fine-tune phase; 0 leaves it out.
            unfreeze: Blocks of the backbone to train in it, counted from its output, or "all".
            fine_tune_learning_rate: Of the fine-tune phase, above 0.

        Raises:
            ConfigError: If a number is out of range.
        """
        for key, value, least in (
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 1),
            ("fine_tune_epochs", fine_tune_epochs, 0),
            ("unfreeze", 0 if unfreeze == "all" else unfreeze, 0),
        ):
            if value < least:
                raise ConfigError(f"[workflow] {key} = {value} is not allowed: {least} or more.")
        for key, rate in (
            ("learning_rate", learning_rate),
            ("fine_tune_learning_rate", fine_tune_learning_rate),
        ):
            if not 0 < rate < float("inf"):
                raise ConfigError(f"[workflow] {key} = {rate} is not allowed: above 0.")
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tunes = fine_tune_epochs > 0
        self.unfreeze: int | Literal["all"] = unfreeze
        self.fine_tune_learning_rate = fine_tune_learning_rate

    def run(self, session: Session) -> None:
        """Run the frozen phase and, if it has epochs, the fine-tune phase."""
        import keras

        session.train_head(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=keras.optimizers.Adam(self.learning_rate),
        )
        if self.fine_tune_epochs:
            session.fine_tune(
                epochs=self.fine_tune_epochs,
                batch_size=self.batch_size,
                unfreeze_blocks=self.unfreeze,
                optimizer=keras.optimizers.Adam(self.fine_tune_learning_rate),
            )
