"""Whether features of the same class lie together, and apart from those of the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_adv import validate
from keras_adv.evaluation.embedding.vectors import checked


def davies_bouldin(features: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of max_j (s_i + s_j) / d_ij: s the mean distance of a class to its centroid, d
    that of two centroids (Davies and Bouldin 1979; MadNet, fig. 2). 0 at best; the lower, the better the
    classes are separated. It does not depend on the scale of the features.

    Returns: NaN where it says nothing: fewer than two classes, a class for each image, or features that are
        all the same; inf where two centroids coincide.

    Raises:
        InvalidInput: features that are not finite (N, F), or labels that do not fit them.
    """
    from sklearn.metrics import davies_bouldin_score

    rows = checked(features)
    y = validate.labels(labels, len(rows), name="labels")
    size = np.abs(rows - rows.mean(0)).max()
    if not 1 < len(np.unique(y)) < len(rows) or not size:
        return float("nan")
    means = np.stack([rows[y == label].mean(0) for label in np.unique(y)]) / size
    apart = np.linalg.norm(means[:, None] - means, axis=2) + np.eye(len(means))
    if apart.min() < 1e-9:  # scikit-learn would leave these pairs out, and call a collapse perfect
        return float("inf")
    return float(davies_bouldin_score((rows - rows.mean(0)) / size, y))


class Clusters(NamedTuple):
    """Clusters of features.

    Attributes:
        centres: (C, F) their means.
        dominant: (C,) the class that most of their images are predicted as.
    """

    centres: np.ndarray
    dominant: np.ndarray


def ward(features: np.ndarray, predicted: np.ndarray, clusters: int | None = None) -> Clusters:
    """The clusters that Ward's method finds, which merges what adds least to the variance within clusters
    (Ward 1963; MAT, sec. 1.2). It does not see the classes; they only name what it found.

    Args:
        features: (N, F).
        predicted: (N,) classes that the net predicts.
        clusters: how many. None: as many as there are predicted classes (the paper does not say).

    Raises:
        InvalidInput: features that are not finite (N, F), predictions that do not fit them, or more clusters
            than images.

    Cost: memory and time grow with N^2; 10,000 images take about half a gigabyte.
    """
    from sklearn.cluster import AgglomerativeClustering

    rows = checked(features)
    classes = validate.labels(predicted, len(rows), name="predicted")
    count = len(np.unique(classes)) if clusters is None else clusters
    validate.number("clusters", count, low=1, high=len(rows), whole=True)
    member = np.zeros(len(rows), int)
    if count > 1:
        member = AgglomerativeClustering(n_clusters=count, linkage="ward").fit_predict(rows)
    groups = [member == number for number in range(count)]
    return Clusters(
        np.stack([rows[group].mean(0) for group in groups]),
        np.array([np.bincount(classes[group]).argmax() for group in groups]),
    )


def match_rate(clusters: Clusters, features: np.ndarray, predicted: np.ndarray) -> float:
    """The share of images whose nearest cluster, by the distance to its mean, is dominated by the class that
    they are predicted as (MAT, table 1).

    The paper's "dist(C, x)" is not defined further; Ward's own distance of one point to a large cluster is
    that to its mean. Clusters are those of the clean images, also where the images are attacked ones: a low
    rate then says that features lie among those of one class and are called another.
    """
    rows = checked(features)
    classes = validate.labels(predicted, len(rows), name="predicted")
    far = np.stack([np.linalg.norm(rows - centre, axis=1) for centre in clusters.centres], axis=1)
    return float((clusters.dominant[far.argmin(1)] == classes).mean())


def centroid_distances(centres: np.ndarray) -> np.ndarray:
    """(K, K) Euclidean distances between class centres (K, F), such as `centroids` (MadNet, fig. 1a); NaN
    for a class without an image."""
    known = np.asarray(centres, "float64")
    return np.asarray(np.linalg.norm(known[:, None] - known, axis=2))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) how many images of each true class, the rows, are predicted as each class, the columns (MadNet,
    fig. 1b, of images that C&W made)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def nearest_share(distances: np.ndarray, counts: np.ndarray) -> float:
    """The share of mistakes, in a `confusion`, that go to the class whose centre is the nearest (MadNet, fig.
    1: a rule with exceptions); 1 / (K - 1) if they went to all alike, NaN without a mistake.

    Args:
        distances: (K, K) `centroid_distances`.
        counts: (K, K) `confusion`.
    """
    others = np.where(np.eye(len(counts), dtype=bool) | np.isnan(distances), np.inf, distances)
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    if not wrong.sum():
        return float("nan")
    return float(wrong[np.arange(len(counts)), others.argmin(1)].sum() / wrong.sum())
