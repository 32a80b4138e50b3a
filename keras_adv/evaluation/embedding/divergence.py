"""How well clean and attacked features can be told apart, and what that says of the robust error."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from keras_adv import validate
from keras_adv.evaluation.embedding.vectors import checked_pair, one_thread

FOLDS = 5
"""Parts of the images, each of which is held out once."""


class DivergenceBound(NamedTuple):
    """The terms of the bound (AFD, sec. 6.4; Ben-David et al. 2010, theorem 2), and their sum.

    Attributes:
        clean_error: of the net on clean images.
        divergence: 0 to 2, twice (1 - 2 error) of the linear classifier that tells the clean features from
            the attacked, on the features that it was fitted to.
        complexity: 4 sqrt((2 d log 2m + log 2/delta) / m), for m images and d = F + 1.
        ideal_error: of one linear classifier on both kinds of features, the sum of its two errors.
        bound: clean_error + divergence / 2 + complexity + ideal_error. Above 1 it says nothing.
        held_out: the divergence on images that the classifier was not fitted to, mean over `FOLDS` parts: 0
            where the two kinds cannot be told apart. NaN for fewer images than parts.
    """

    clean_error: float
    divergence: float
    complexity: float
    ideal_error: float
    bound: float
    held_out: float


def divergence_bound(
    clean: np.ndarray, attacked: np.ndarray, labels: np.ndarray, clean_error: float, delta: float = 0.05
) -> DivergenceBound:
    """xi_p <= xi_c + 1/2 d(U_c, U_p) + 4 sqrt((2 d log 2m + log 2/delta) / m) + lambda (AFD, sec. 6.4): a
    bound on the error xi_p on perturbed images, with probability 1 - delta over the choice of the m images.

    The hypotheses are linear classifiers of the F features, as AFD's decoder, of VC dimension F + 1. The
    theorem asks for the best of them in d and in lambda; logistic regression stands in for it, and d is that
    of the classifiers themselves, not of their symmetric differences: as always where this bound is computed,
    d is estimated from below and lambda from above, so the sum is no certificate. With m in the hundreds the
    third term alone is above 1; what tells nets apart is the divergence, above all `held_out`. The theorem is
    for two classes, and the paper applies it to the images of one class at a time: give their rows alone.

    Args:
        clean: (m, F) features of the images.
        attacked: (m, F) features of what an attack made of the same images.
        labels: (m,) true classes.
        clean_error: xi_c, the net's error on the clean images, 0 to 1.
        delta: the probability that the bound does not hold, above 0 and at most 1.

    Raises:
        InvalidInput: features that are not finite (m, F), or numbers out of range.
    """
    before, after = checked_pair(clean, attacked, ("clean", "attacked"))
    y = validate.labels(labels, len(before), name="labels")
    validate.number("clean_error", clean_error, low=0.0, high=1.0)
    validate.number("delta", delta, above=0.0, high=1.0)
    both, kind = _scaled(np.concatenate([before, after])), np.repeat([0, 1], len(before))
    twice = np.concatenate([y, y])
    with one_thread():
        apart = max(2 - 4 * float((_fitted(both, kind)(both) != kind).mean()), 0.0)
        ideal = 2 * float((_fitted(both, twice)(both) != twice).mean())
        held_out = _held_out(both, kind)
    m, d = before.shape[0], before.shape[1] + 1
    complexity = 4 * math.sqrt((2 * d * math.log(2 * m) + math.log(2 / delta)) / m)
    total = clean_error + apart / 2 + complexity + ideal
    return DivergenceBound(clean_error, apart, complexity, ideal, total, held_out)


def _held_out(both: np.ndarray, kind: np.ndarray) -> float:
    """The divergence on held-out images; an image and what was made of it are held out together."""
    image = np.tile(np.arange(len(both) // 2), 2)
    if len(image) < 2 * FOLDS:
        return float("nan")
    wrong = 0
    for fold in range(FOLDS):
        out = image % FOLDS == fold
        wrong += int((_fitted(both[~out], kind[~out])(both[out]) != kind[out]).sum())
    return max(2 - 4 * wrong / len(both), 0.0)


def _scaled(rows: np.ndarray) -> np.ndarray:
    """Features of mean 0 and variance 1, those that do not vary 0: linear classifiers are the same."""
    spread = rows.std(0)
    return np.asarray((rows - rows.mean(0)) / np.where(spread > 0, spread, 1.0))


def _fitted(rows: np.ndarray, classes: np.ndarray) -> Any:
    """The decision of a linear classifier fitted to these rows: (M, F) -> (M,) classes."""
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(classes)) == 1:
        return lambda given: np.full(len(given), classes[0])
    return LogisticRegression(C=100.0, max_iter=2000).fit(rows, classes).predict
