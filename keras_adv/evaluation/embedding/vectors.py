"""Checks of features, and what single features tell: their centres, directions, sizes and dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import threadpoolctl

from keras_adv import validate
from keras_adv.arrays import TINY

SHARE = 0.99
"""Of the variance, that the counted principal components explain more than (AFD, table A5)."""


def one_thread() -> Any:
    """A context in which OpenMP and BLAS use one thread: sums are then made in the same order each time, and
    threads of scikit-learn do not wait for each other where TensorFlow's take the cores (t-SNE of 200 images
    on two busy cores: 4 s instead of 54 s)."""
    return threadpoolctl.threadpool_limits(1)


def checked(features: np.ndarray, name: str = "features") -> np.ndarray:
    """Features as float64 (N, F). Raises InvalidInput for another rank, none, or values not finite."""
    array = validate.as_array(name, features, "of shape (N, F)")
    if array.ndim != 2 or not array.size:
        raise validate.unusable(name, "of shape (N, F), both greater than 0", f"shape {array.shape}")
    array = array.astype("float64")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array).all(1)).sum())
        raise validate.unusable(name, "finite", f"{bad} rows with NaN or inf")
    return array


def checked_pair(first: np.ndarray, second: np.ndarray, names: tuple[str, str]) -> list[np.ndarray]:
    """Two arrays (N, F) of which row i is of the same image. Raises InvalidInput for other shapes."""
    pair = [checked(array, name) for array, name in zip((first, second), names, strict=True)]
    if pair[0].shape != pair[1].shape:
        raise validate.unusable(names[1], f"of shape {pair[0].shape}, as {names[0]}", f"{pair[1].shape}")
    return pair


def centroids(features: np.ndarray, labels: np.ndarray, classes: int | None = None) -> np.ndarray:
    """(K, F) mean features of each class; NaN for a class without an image.

    Args:
        features: (N, F).
        labels: (N,) class numbers.
        classes: K; None is the largest label + 1.

    Raises:
        InvalidInput: features that are not finite (N, F), or labels that do not fit them.
    """
    rows = checked(features)
    y = validate.labels(labels, len(rows), classes, "labels")
    found = np.full((int(y.max()) + 1 if classes is None else classes, rows.shape[1]), np.nan)
    for label in np.unique(y):
        found[label] = rows[y == label].mean(0)
    return found


def cosine_to_centres(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(N, K) cosines between features and class centres (MAT, table 5, which has those to the centre of the
    predicted class); 0 for features that are 0, NaN for a centre that is.

    Args:
        features: (N, F).
        centres: (K, F): the fixed centres of a net trained with them, or `centroids`.
    """
    rows, known = checked(features), np.asarray(centres, "float64")
    units = known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), TINY)
    return np.asarray(rows @ units.T / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY))


def active_units(features: np.ndarray) -> int:
    """How many of the F features are not exactly 0 for at least one image (AFD, table A5, "Units").

    Features that no ReLU cuts off are all active.
    """
    return int((checked(features) != 0).any(0).sum())


def pca_dimensions(features: np.ndarray, share: float = SHARE) -> int:
    """How many principal components explain more than `share` of the variance (AFD, table A5, "Dims").

    At most N - 1 for N images, so few images say little of many features; 0 where all rows are the same.
    """
    from sklearn.decomposition import PCA

    validate.number("share", share, above=0.0, high=1.0)
    rows = checked(features)
    if not np.ptp(rows, axis=0).any():
        return 0
    with one_thread():
        explained = np.cumsum(PCA(svd_solver="full").fit(rows).explained_variance_ratio_)
    return min(int(np.searchsorted(explained, share, side="right")) + 1, len(explained))


def sensitivity(clean: np.ndarray, attacked: np.ndarray) -> np.ndarray:
    """(N,) |E(x) - E(x')|_2 / |E(x)|_2, how far an attack moves the features E of each image (AFD, fig. 4
    left, which shows the median).

    Args:
        clean: (N, F) features of the images.
        attacked: (N, F) features of what the attack made of them.
    """
    before, after = checked_pair(clean, attacked, ("clean", "attacked"))
    return np.asarray(
        np.linalg.norm(after - before, axis=1) / np.maximum(np.linalg.norm(before, axis=1), TINY)
    )


def angles(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) angles in radians, 0 to pi, between two perturbations of the features of each image, E(x') - E(x)
    for the one and the other attack (AFD, table A7); NaN where one of them is 0. Directions that have nothing
    to do with each other are pi / 2 apart."""
    one, other = checked_pair(first, second, ("first", "second"))
    sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = np.divide((one * other).sum(1), sizes, out=np.full(len(one), np.nan), where=sizes > 0)
    return np.asarray(np.arccos(np.clip(cosines, -1.0, 1.0)))


def gradient_landscape(slopes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K, K) mean size of the gradient of each class' likelihood by the image: rows are true classes, columns
    the classes whose likelihood it is (AFD, fig. 4 right, which shows the logarithm).

    Small values mean either a net that is flat around the images, or a softmax so saturated that its
    gradient vanishes although the decision is near.

    Args:
        slopes: (N, K) |d softmax_k / d x|_2 of each image (`Embedding.slopes`).
        labels: (N,) true classes.
    """
    return centroids(slopes, labels, np.shape(slopes)[1])
