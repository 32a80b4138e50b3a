"""Features of clean and attacked images, and what follows from them directly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from keras_adv.evaluation.embedding import clusters, vectors


class Points(NamedTuple):
    """Features of clean images, or of what an attack made of them (NumPy).

    Attributes:
        spec: "clean", or the attack's spec.
        rows: (M,) which images of the set they are.
        features: (M, F).
        predicted: (M,) classes that the net predicts.
    """

    spec: str
    rows: np.ndarray
    features: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class AllPoints:
    """Features of N images, clean and attacked.

    Attributes:
        labels: (N,) true classes.
        clean: the features of all images.
        attacks: those of what each attack made of them.
        slopes: (N, K) |d softmax_k / d x|_2 at the clean images.
        own_centres: (K, F) the fixed class centres of a net that was trained with some (`mat`, `mmc`), or
            None.
    """

    labels: np.ndarray
    clean: Points
    attacks: tuple[Points, ...]
    slopes: np.ndarray
    own_centres: np.ndarray | None

    @property
    def classes(self) -> int:
        """K."""
        return int(self.slopes.shape[1])

    @cached_property
    def means(self) -> np.ndarray:
        """(K, F) mean clean features of each class, NaN for one without images."""
        return vectors.centroids(self.clean.features, self.labels, self.classes)

    @property
    def centres(self) -> np.ndarray:
        """(K, F) the class centres that cosines are to: the net's own, else `means`."""
        return self.means if self.own_centres is None else self.own_centres

    @cached_property
    def clusters(self) -> clusters.Clusters:
        """Ward's clusters of the clean features."""
        return clusters.ward(self.clean.features, self.clean.predicted)

    def confusion(self, points: Points) -> np.ndarray:
        """(K, K) what the images that the net has right become: true class, predicted class."""
        right = self.clean.predicted[points.rows] == self.labels[points.rows]
        return clusters.confusion(self.labels[points.rows][right], points.predicted[right], self.classes)

    def sensitivity(self, points: Points) -> np.ndarray:
        """(M,) how far an attack moves the features of its images (`vectors.sensitivity`)."""
        return vectors.sensitivity(self.clean.features[points.rows], points.features)
