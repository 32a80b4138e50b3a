"""What a study shows: images as they are, and what an attack made of others, in 256 levels."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from scipy import special
from typing_extensions import TypedDict

from keras_adv import validate
from keras_adv.attacks import Attack
from keras_adv.evaluation import attack as run
from keras_adv.evaluation.image_set import logits_of
from keras_adv.losses import predicted_class


class Shown(NamedTuple):
    """Images of one kind, one row an image (NumPy).

    Attributes:
        pixels: (N, H, W, C) uint8.
        rows: (N,) places in the split.
        labels: (N,) true classes.
        adversarial: (N,) classes that the attacked model sees in `pixels`; None for clean images.
        confidence: (N,) of the model in that class.
        norm: (N,) l2 norm of the change, of images in [0, 1].
    """

    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    adversarial: np.ndarray | None = None
    confidence: np.ndarray = np.zeros(0)
    norm: np.ndarray = np.zeros(0)


class Counts(TypedDict):
    """Images that were looked through, and why some of them are not shown."""

    looked: int
    misclassified: int
    not_fooled: int
    lost_in_rounding: int


def shares(count: int, clean: int, models: int, seed: int) -> list[np.ndarray]:
    """Rows for the clean images and for each model, drawn by a seed; none is in two of them, so that nobody
    sees an image twice."""
    order = np.random.default_rng(seed).permutation(count)
    return [order[:clean], *(order[clean + m :: models] for m in range(models))]


def as_shown(x: np.ndarray) -> np.ndarray:
    """Images in [0, 1] in the 256 levels of a screen."""
    return np.round(255 * np.clip(x, 0, 1)).astype("uint8")


def attacked(
    model: keras.Model,
    x: Any,
    y: np.ndarray,
    rows: np.ndarray,
    attack: Attack,
    n: int,
    seed: int = 0,
    batch_size: int = 256,
) -> tuple[Shown, Counts]:
    """The first n of these rows that are classified correctly and that the attack turns into a mistake which
    is one in 256 levels too; fewer, where there are no more.

    Raises:
        InvalidInput: as `keras_adv.attack`; there is none.

    Cost: the attack on the images that are looked through, n at a time.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    missing, counts = n, Counts(looked=0, misclassified=0, not_fooled=0, lost_in_rounding=0)
    for start in range(0, len(rows), n):
        part = rows[start : start + n]
        images, labels = np.asarray(x[part]), y[part]
        done = run(model, images, labels, attack, batch_size=min(batch_size, n), seed=seed + start)
        pixels = as_shown(done.images)
        logits = logits_of(model, (pixels / 255).astype("float32"), min(batch_size, n))
        seen = np.asarray(predicted_class(logits))
        fooled, wrong = done.clean & done.success, seen != labels
        taken = np.flatnonzero(fooled & wrong)[:missing]
        missing -= len(taken)
        looked = slice(len(part) if missing else taken[-1] + 1)
        counts["looked"] += len(part[looked])
        counts["misclassified"] += int((~done.clean)[looked].sum())
        counts["not_fooled"] += int((done.clean & ~done.success)[looked].sum())
        counts["lost_in_rounding"] += int((fooled & ~wrong)[looked].sum())
        sure = special.softmax(logits.astype("float64"), axis=1).max(1)
        norm = np.linalg.norm((pixels / 255 - images).reshape(len(part), -1), axis=1)
        parts.append(tuple(v[taken] for v in (pixels, part, labels, seen, sure, norm)))
        if not missing:
            break
    if missing == n:
        raise validate.unusable("attack", "one that fools the model on some image", f"{attack}: {counts}")
    return Shown(*(np.concatenate(column) for column in zip(*parts, strict=True))), counts
