"""Partners: for each image of a batch a second one out of the training set."""

from __future__ import annotations

import numpy as np


class Partners:
    """Draws a partner for each image of a batch.

    With probability `same` it is any other image of the same class, else any image of a class drawn among the
    others. Where there is none of one kind it is one of the other, and the image itself where it is alone.

    Args:
        y: labels (N,) of the training set.
        same: probability of the same class.
    """

    def __init__(self, y: np.ndarray, same: float) -> None:
        self.y, self.same = y, same
        self.by_class = np.argsort(y, kind="stable")
        self.classes, self.first, self.count = np.unique(
            y[self.by_class], return_index=True, return_counts=True
        )
        self.place = np.empty(len(y), "int64")
        self.place[self.by_class] = np.arange(len(y))

    def __call__(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows (B,) of the training set -> (2B,): each followed by its partner."""
        own, classes = np.searchsorted(self.classes, self.y[rows]), len(self.classes)
        wanted = rng.random(len(rows)) < self.same
        alike = (wanted & (self.count[own] > 1)) | (classes == 1)
        other = (own + 1 + rng.integers(0, max(classes - 1, 1), len(rows))) % classes
        chosen = np.where(alike, own, other)
        passed_over = alike & (self.count[own] > 1)  # the image itself
        number = rng.integers(0, self.count[chosen] - passed_over)
        number += passed_over & (number >= self.place[rows] - self.first[own])
        return np.stack([rows, self.by_class[self.first[chosen] + number]], axis=1).ravel()
