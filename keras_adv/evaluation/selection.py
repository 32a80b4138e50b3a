"""Which images of a set are measured: the first, some by chance, or those that models classify correctly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_adv import validate
from keras_adv.evaluation.image_set import classify

CHUNK = 1000
"""Images that are classified at a time, until enough are found."""


def select(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    *,
    sample: int | None = None,
    correct: Sequence[keras.Model] = (),
    batch_size: int = 256,
) -> np.ndarray:
    """The rows, in ascending order, of n images, or of all that there are, if fewer.

    Args:
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        n: how many.
        sample: a seed: they are drawn at random, each set of n equally likely; None: the first.
        correct: models that must all classify them correctly. The robust accuracy on such a set is that over
            the correctly classified images, as some papers report it: never compare it with one over all.
        batch_size: images that a model sees at a time.

    Raises:
        InvalidInput: as `classify`; no image that they classify correctly.

    Cost: without models none; else a forward pass of each model on the images that are looked through.
    """
    validate.number("n", n, low=1, whole=True)
    if sample is not None:
        validate.seed(sample, "sample")
    order = np.arange(len(y)) if sample is None else np.random.default_rng(sample).permutation(len(y))
    if not correct:
        return np.sort(order[:n])
    found: list[Any] = []
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        for model in correct:
            rows = rows[classify(model, x[rows], y[rows], batch_size).correct] if len(rows) else rows
        found.extend(rows)
        if len(found) >= n:
            break
    if not found:
        raise validate.unusable("x", "a set with images that are classified correctly", "one without")
    return np.sort(np.array(found[:n]))
