"""Familiarity: how far an image is from the training images, within the backbone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlkit.records import Float32Array

# The share of validation images that are flagged.
FLAGGED = 0.01


@dataclass(frozen=True)
class Familiarity:
    """One Gaussian of what training images look like.

    Attributes:
        layers: The layers of the backbone whose maps' means are the features.
        mean: Of the features of training images, float32 (channels,).
        precision: The inverse of their covariance, float32 (channels, channels).
        limit: The Mahalanobis distance that the share ``FLAGGED`` of the validation images exceed.
    """

    layers: tuple[str, ...]
    mean: Float32Array
    precision: Float32Array
    limit: float

    def distances(self, features: Float32Array) -> Float32Array:
        """Return the Mahalanobis distances of images, divided by the limit: float32 (N,).

        Args:
            features: float32 (N, channels).
        """
        return (_mahalanobis(features, self.mean, self.precision) / self.limit).astype(np.float32)


def fit_familiarity(
    layers: tuple[str, ...], train: Float32Array, validation: Float32Array
) -> Familiarity:
    """Fit the Gaussian to training images, and its limit to other ones.

    Distances to a Gaussian of the features of inner layers are those of Lee et al.: A Simple
    Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks, NeurIPS
    2018; one Gaussian for all classes is the marginal distance of Kamoi and Kobayashi: Why is the
    Mahalanobis Distance Effective for Anomaly Detection?, 2020. The covariance is shrunk (Ledoit
    and Wolf 2004), as the images may be fewer than the channels.

    Args:
        layers: The layers that the features are of.
        train: Features of training images, float32 (N, channels), N of 2 or more.
        validation: Features of images that are not among these, float32 (M, channels), M of 1 or
            more.
    """
    from sklearn.covariance import LedoitWolf

    # Channels have scales of their own, and shrinking draws all variances to their mean.
    wide = train.astype(np.float64)
    scale = wide.std(axis=0) + 1e-6 * max(float(np.abs(wide).max()), 1e-12)
    precision = LedoitWolf().fit(wide / scale).precision_ / np.outer(scale, scale)
    mean = wide.mean(axis=0).astype(np.float32)
    found = precision.astype(np.float32)
    limit = np.quantile(_mahalanobis(validation, mean, found), 1 - FLAGGED)
    return Familiarity(layers, mean, found, max(float(limit), 1e-12))


def _mahalanobis(features: Float32Array, mean: Float32Array, precision: Float32Array) -> np.ndarray:
    apart = features.astype(np.float64) - mean
    squares = np.einsum("ij,ij->i", apart @ precision.astype(np.float64), apart)
    distances: np.ndarray = np.sqrt(np.maximum(squares, 0))
    return distances
