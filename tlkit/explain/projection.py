"""Projection: many features of each image brought down to two numbers."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass

import numpy as np

from tlkit.records import Float32Array

_COMPONENTS_BEFORE = 50
_PERPLEXITY = 30.0
_NEIGHBOURS = 15


@dataclass(frozen=True)
class Projection:
    """Points in two dimensions.

    Attributes:
        name: ``"pca"``, ``"t-sne"`` or ``"umap"``.
        title: How it is written.
        points: float32 array (N, 2).
        axes: What to write at the two axes.
    """

    name: str
    title: str
    points: Float32Array
    axes: tuple[str, str]


def project(features: Float32Array) -> list[Projection]:
    """Return the maps that can be drawn here: PCA, t-SNE, and UMAP if it is installed.

    Args:
        features: float32 array (N, channels), N 4 or more.

    Returns:
        The projections. All are the same each time.
    """
    reduced, shares = _principal_components(features)
    found = [
        Projection(
            "pca",
            "PCA",
            reduced[:, :2],
            (
                f"First principal component ({100 * shares[0]:.0f} % of the variance)",
                f"Second principal component ({100 * shares[1]:.0f} %)",
            ),
        ),
        Projection("t-sne", "t-SNE", _t_sne(reduced), _without_unit("t-SNE")),
    ]
    if importlib.util.find_spec("umap") is not None:
        found.append(Projection("umap", "UMAP", _umap(reduced), _without_unit("UMAP")))
    return found


def _principal_components(features: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return up to 50 principal components (N, 2 to 50), and the shares of variance they hold."""
    from sklearn.decomposition import PCA

    features = np.asarray(features, dtype=np.float32)
    if features.shape[1] < 2:
        features = np.pad(features, ((0, 0), (0, 2 - features.shape[1])))
    count = min(_COMPONENTS_BEFORE, *features.shape)
    with np.errstate(invalid="ignore"):  # features without any variance
        analysis = PCA(count, random_state=0, svd_solver="randomized").fit(features)
    shares = np.nan_to_num(analysis.explained_variance_ratio_)
    return analysis.transform(features).astype(np.float32), shares


def _t_sne(reduced: Float32Array) -> Float32Array:
    """Return t-SNE (van der Maaten and Hinton 2008), started from PCA (Kobak and Berens 2019)."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(reduced) - 1) / 3)
    start = reduced[:, :2] / max(float(reduced[:, 0].std()), 1e-12) * 1e-4
    model = TSNE(perplexity=perplexity, init=start, random_state=0, n_jobs=1)
    # Its threads wait for one another at each of a thousand steps: with other processes on the same
    # cores, 360 images took 71 s on two threads and 1.3 s on one.
    with threadpool_limits(1):
        return np.asarray(model.fit_transform(reduced), dtype=np.float32)


def _umap(reduced: Float32Array) -> Float32Array:
    """Return UMAP (McInnes et al. 2018)."""
    import umap

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*n_jobs value.*overridden.*")
        model = umap.UMAP(n_neighbors=min(_NEIGHBOURS, len(reduced) - 1), random_state=0)
        return np.asarray(model.fit_transform(reduced), dtype=np.float32)


def _without_unit(name: str) -> tuple[str, str]:
    return f"{name}, first axis (no unit)", f"{name}, second axis (no unit)"
