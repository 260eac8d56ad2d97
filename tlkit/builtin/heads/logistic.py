"""The logistic head: scikit-learn's logistic regression on stored features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tlkit import ClosedFormHead, ConfigError, LabelledFeatures
from tlkit.builtin.heads.mlp import MLP

if TYPE_CHECKING:
    import keras
    import numpy as np

# Inverse strengths of the regularisation that are tried, the strongest first.
STRENGTHS = tuple(10 ** (power / 2) for power in range(-10, 3))
# A class without a training image is never predicted.
_NEVER = -1e4


class Logistic(ClosedFormHead):
    """Logistic regression (scikit-learn, L-BFGS), its regularisation chosen on validation."""

    name: ClassVar[str] = "logistic"
    modules: ClassVar[tuple[str, ...]] = ("sklearn.linear_model",)

    def __init__(
        self,
        C: float | None = None,
        max_iter: int = 300,
        pooling: Literal["avg", "max"] = "avg",
    ) -> None:
        """Set the regression, which sees standardised features.

        Args:
            C: Inverse strength of the L2 regularisation, above 0; by default the one of 13 values
                from 1e-5 to 10 with the lowest cross-entropy on the validation images.
            max_iter: The most iterations of L-BFGS, 1 or more.
            pooling: How feature maps become a vector.

        Raises:
            ConfigError: If a number is out of range.
        """
        if C is not None and not 0 < C < float("inf"):
            raise ConfigError(f"[head] C = {C} is not allowed: above 0.")
        if max_iter < 1:
            raise ConfigError(f"[head] max_iter = {max_iter} is not allowed: 1 or more.")
        self.C, self.max_iter, self.pooling = C, max_iter, pooling
        self.chooses = C is None

    def build(self, feature_shape: tuple[int, ...], num_classes: int) -> keras.Model:
        """Build one dense layer."""
        return MLP([]).build(feature_shape, num_classes)

    def solve(
        self, train: LabelledFeatures, validation: LabelledFeatures, class_weight: Any
    ) -> tuple[keras.Model, Mapping[str, Any]]:
        """Fit the regression for each strength, each from the solution before it."""
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        scaler = StandardScaler().fit(train.features)
        features, held_out = (
            scaler.transform(part.features).astype(np.float32) for part in (train, validation)
        )
        regression = LogisticRegression(
            max_iter=self.max_iter,
            warm_start=True,
            class_weight=None if class_weight is None else dict(enumerate(class_weight)),
        )
        best: tuple[float, float, np.ndarray, np.ndarray] | None = None
        worse = 0
        for strength in STRENGTHS if self.C is None else (self.C,):
            # Its products are too thin to gain from threads, which wait for one another for many
            # times as long where other processes use the cores too.
            with threadpool_limits(1), warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                regression.set_params(C=strength).fit(features, train.labels)
            weights, bias = _expand(regression, train.num_classes)
            loss = _cross_entropy(held_out @ weights + bias, validation.labels)
            if best is None or loss < best[0]:
                best, worse = (loss, strength, weights, bias), 0
            else:
                worse += 1
            # The loss falls and then rises with C; weaker regularisation takes ever longer.
            if worse == 2:
                break
        assert best is not None
        _, strength, weights, bias = best
        model = self.build(train.features.shape[1:], train.num_classes)
        scaled = weights / scaler.scale_[:, None]
        model.get_layer("logits").set_weights([scaled, bias - scaler.mean_ @ scaled])
        return model, {"C": float(f"{strength:.3g}")}


def _expand(regression: Any, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (features, classes) and bias (classes,) of all classes."""
    import numpy as np

    coefficients, intercept = regression.coef_, regression.intercept_
    if len(regression.classes_) == 2:  # scikit-learn keeps the difference of the two
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    weights = np.zeros((coefficients.shape[1], num_classes))
    bias = np.full(num_classes, _NEVER)
    weights[:, regression.classes_] = coefficients.T
    bias[regression.classes_] = intercept
    return weights, bias


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    import numpy as np
    from scipy.special import log_softmax

    chosen = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return float(-chosen.mean())
