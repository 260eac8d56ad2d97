"""The mlp head: hidden layers of any number and width."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tlkit import ConfigError, Head

if TYPE_CHECKING:
    import keras


class MLP(Head):
    """Hidden layers of any number and width, with batch normalisation and dropout."""

    name: ClassVar[str] = "mlp"

    def __init__(
        self,
        units: list[int] = [256],  # noqa: B006 -- never changed, and TOML has lists
        dropout: float = 0.3,
        batch_norm: bool = True,
        activation: str = "relu",
        pooling: Literal["avg", "max"] = "avg",
    ) -> None:
        """Set the layers.

        Args:
            units: Width of each hidden layer, 1 or more each; empty for none.
            dropout: Share of activations dropped after each hidden layer, 0 up to below 1.
            batch_norm: Whether to normalise before each activation.
            activation: A name that ``keras.activations.get`` knows.
            pooling: How feature maps become a vector.

        Raises:
            ConfigError: If a number is out of range.
        """
        if any(width < 1 for width in units):
            raise ConfigError(f"[head] units = {units} is not allowed: widths of 1 or more.")
        if not 0 <= dropout < 1:
            raise ConfigError(f"[head] dropout = {dropout} is not allowed: 0 up to below 1.")
        self.units, self.dropout, self.batch_norm = tuple(units), dropout, batch_norm
        self.activation, self.pooling = activation, pooling

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> keras.Model:
        """Build it: (Dense, normalise, activate, drop) for each width, then logits."""
        import keras

        try:
            keras.activations.get(self.activation)
        except ValueError as err:
            raise ConfigError(
                f"[head] activation = '{self.activation}' is not allowed: a name that "
                f"keras.activations knows, such as 'relu', 'gelu' or 'tanh'."
            ) from err
        x = inputs = keras.Input(feature_shape)
        for number, width in enumerate(self.units, 1):
            x = keras.layers.Dense(width, use_bias=not self.batch_norm, name=f"hidden_{number}")(x)
            if self.batch_norm:
                x = keras.layers.BatchNormalization(name=f"normalise_{number}")(x)
            x = keras.layers.Activation(self.activation, name=f"activate_{number}")(x)
            x = keras.layers.Dropout(self.dropout, name=f"dropout_{number}")(x)
        logits = keras.layers.Dense(num_classes, name="logits")(x)
        return keras.Model(inputs, logits, name=self.name)
