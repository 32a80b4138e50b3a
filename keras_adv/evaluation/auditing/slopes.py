"""Whether the gradient is the slope of the margin, and whether it lasts from one point to the next."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_adv import noise, registry
from keras_adv.backend import rounds_products
from keras_adv.evaluation import compiled
from keras_adv.evaluation.image_set import ImageSet, logits_of
from keras_adv.evaluation.masking import FLAGGED
from keras_adv.losses import wrong_classes
from keras_adv.threats import Threat

NEAR = 0.1
"""How far apart, in units of eps, two points are whose gradients should be alike."""
ALIKE = 0.1
"""Cosine of such gradients below which the loss is called shattered."""


def of_gradients(model: keras.Model, images: ImageSet, ball: Threat) -> list[str]:
    """What the gradients of a net that answers always the same say of themselves."""
    found = _of_slopes(slope_ratios(model, images)) if computes_in_float32(model) else []
    alike = float(np.median(alignment(model, images, ball)))
    if alike < ALIKE:
        found.append(
            f"gradients {NEAR:g} eps apart have little in common ({registry.spec(ball)}, median cosine "
            f"{alike:.2g}): the loss is shattered, and one gradient says nothing of the next point; average "
            "them over noise, or attack without them (square())"
        )
    return found


def alignment(model: keras.Model, images: ImageSet, ball: Threat) -> np.ndarray:
    """Cosine between the gradients of the margin at an image and at a random point `NEAR` eps away, for each
    of the first `FLAGGED` images where both are finite and not 0; 1 where there is none. Cost: 2
    forward-backward passes an image."""
    x, y = images.x[:FLAGGED], images.y[:FLAGGED]
    others = rivals(images)
    seeds = noise.seeds(0, np.arange(len(x), dtype="int32"))
    away = NEAR * float(ball.radius()) * np.asarray(ball.steepest(noise.normal(seeds, x.shape[1:])))
    run = compiled.margin_gradient(model)
    pair = [
        np.asarray(run(at.astype("float32"), y, others), "float64").reshape(len(x), -1)
        for at in (x, np.clip(x + away, 0, 1))
    ]
    sizes = [np.linalg.norm(g, axis=1) for g in pair]
    told = np.isfinite(sizes[0] * sizes[1]) & (sizes[0] * sizes[1] > 0)
    cosine = (pair[0] * pair[1]).sum(1)[told] / (sizes[0] * sizes[1])[told]
    return cosine if told.any() else np.ones(1)


def rivals(images: ImageSet) -> np.ndarray:
    """(B,) the likeliest other class of the first `FLAGGED` images."""
    logits, y = images.logits[:FLAGGED], images.y[:FLAGGED]
    return np.asarray(wrong_classes(ops.convert_to_tensor(logits), ops.convert_to_tensor(y)))[:, 0]


def slope_ratios(model: keras.Model, images: ImageSet) -> np.ndarray:
    """How far the margin moves along the signs of its gradient, over what the gradient promises: 1 where the
    gradient is the slope, about 0 where it points anywhere.

    One number for each of the first `FLAGGED` images whose gradient is finite and not 0, and where it
    promises, or the margin moves, more than rounding takes away. Between two points of the box on both sides
    of the image, so near (at most 1/255) that the margin should move by a hundredth of the logits. Cost: a
    forward-backward pass and 2 forward passes an image.
    """
    x, y, logits = images.x[:FLAGGED], images.y[:FLAGGED], images.logits[:FLAGGED]
    others = rivals(images)
    found = compiled.margin_gradient(model)(x, y, others)
    slope = np.nan_to_num(np.asarray(found, "float64"), posinf=0.0, neginf=0.0)
    promised = np.abs(slope).sum((1, 2, 3))
    size = np.maximum(np.abs(logits).max(1), 1.0)
    step = np.clip(5e-3 * size / np.maximum(promised, 1e-12), 2e-5, 1 / 255).reshape(-1, 1, 1, 1)
    ends = [np.clip(x + sign * step * np.sign(slope), 0, 1).astype("float32") for sign in (1, -1)]
    want = (slope * (ends[0].astype("float64") - ends[1])).sum((1, 2, 3))
    rows = np.arange(len(x))
    answers = (logits_of(model, end, batch_size=256).astype("float64") for end in ends)
    one, other = (z[rows, y] - z[rows, others] for z in answers)
    told = (want > 0) & (np.maximum(want, np.abs(one - other)) > 2e-3 * size)
    return (one - other)[told] / want[told]


def computes_in_float32(model: keras.Model) -> bool:
    """Whether no layer rounds to half precision, nor a GPU to TF32, which moves a margin more than a short
    step does."""
    kinds = {layer.compute_dtype for layer in model._flatten_layers()}
    return kinds <= {"float32", "float64"} and not rounds_products()


def _of_slopes(ratios: np.ndarray) -> list[str]:
    wrong = int((np.abs(ratios - 1.0) > 0.5).sum())
    if wrong < 3 or wrong <= 0.1 * len(ratios):
        return []
    return [
        f"the gradient is not the slope on {wrong} of {len(ratios)} images: along it the margin moves by "
        f"{float(np.median(ratios)):.2g} times of what it promises (median); it is wrong, random, rounded or "
        "stopped somewhere, and attacks that follow it look weak: attack without gradients (square()), by "
        "transfer, or a copy of the model without that layer"
    ]
