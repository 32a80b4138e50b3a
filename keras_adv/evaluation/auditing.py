"""The audit of a model: attacks and measurements that tell masked gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import PGD, Attack, Square
from keras_adv.attacks.objectives import MarginObjective
from keras_adv.evaluation import compiled
from keras_adv.evaluation.image_set import ImageSet, classify, gathered, logits_of
from keras_adv.evaluation.masking import FLAGGED, flags_of
from keras_adv.evaluation.runner import attack
from keras_adv.losses import wrong_classes
from keras_adv.threats import Linf, Threat

AUDITED = ("linf", "l2")
"""Threats that an audit takes."""


def audited_threat(attacks: Iterable[Attack | str]) -> Threat:
    """The threat that an audit looks at beside these attacks: the first of theirs that it takes."""
    threats = [registry.parse("attack", one).threat for one in attacks]
    return next((one for one in threats if one.name in AUDITED and one.eps), Linf(eps=0.1))


def slope_ratios(model: keras.Model, images: ImageSet) -> np.ndarray:
    """How far the margin moves along the signs of its gradient, over what the gradient promises: 1 where the
    gradient is the slope, about 0 where it points anywhere.

    One number for each of the first `FLAGGED` images whose gradient is finite and not 0, and where it
    promises, or the margin moves, more than rounding takes away. Between two points of the box on both sides
    of the image, so near (at most 1/255) that the margin should move by a hundredth of the logits. Cost: a
    forward-backward pass and 2 forward passes an image.
    """
    x, y, logits = images.x[:FLAGGED], images.y[:FLAGGED], images.logits[:FLAGGED]
    rivals = np.asarray(wrong_classes(ops.convert_to_tensor(logits), ops.convert_to_tensor(y)))[:, 0]
    found = compiled.margin_gradient(model)(x, y, rivals)
    slope = np.nan_to_num(np.asarray(found, "float64"), posinf=0.0, neginf=0.0)
    promised = np.abs(slope).sum((1, 2, 3))
    size = np.maximum(np.abs(logits).max(1), 1.0)
    step = np.clip(5e-3 * size / np.maximum(promised, 1e-12), 2e-5, 1 / 255).reshape(-1, 1, 1, 1)
    ends = [np.clip(x + sign * step * np.sign(slope), 0, 1).astype("float32") for sign in (1, -1)]
    want = (slope * (ends[0].astype("float64") - ends[1])).sum((1, 2, 3))
    rows = np.arange(len(x))
    answers = (logits_of(model, end, batch_size=256).astype("float64") for end in ends)
    one, other = (z[rows, y] - z[rows, rivals] for z in answers)
    told = (want > 0) & (np.maximum(want, np.abs(one - other)) > 2e-3 * size)
    return (one - other)[told] / want[told]


def computes_in_float32(model: keras.Model) -> bool:
    """Whether no layer rounds to half precision, which moves a margin more than a short step does."""
    return all(layer.compute_dtype in ("float32", "float64") for layer in model._flatten_layers())


@in_float32()
def audit(
    model: keras.Model,
    x: Any,
    y: Any,
    n: int = 100,
    threat: Threat | str = "linf(eps=0.1)",
    queries: int = 200,
) -> list[str]:
    """What looks like masked gradients, in sentences: what was seen, what it means, what to do. An empty list
    where nothing does.

    Checks on the first `n` images: `flags`; a gradient that is not the slope of the margin (`slope_ratios`
    off by half on over a tenth of the images, of a net in float32); a PGD in the whole box (linf, eps = 1)
    that does not break everything; at `threat`, one step that does better than forty, forty on the margin
    that break over 10 points more images than forty on the cross-entropy, and Square, which sees no gradient,
    that breaks over 2 points more than all of them.

    Args:
        model: as in `attack`.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        n: how many images.
        threat: linf or l2 with an eps.
        queries: of Square, on the images that are left.

    Raises:
        InvalidInput: as `attack`; a threat of another norm or without an eps.

    Cost: about 123 forward-backward passes an image, and `queries` forward passes for each that stands.
    """
    ball: Threat = registry.parse("threat", threat)
    validate.one_of("threat", ball.name, AUDITED)
    ball.radius()
    x, y = gathered(x, y, n)
    images = classify(model, x[:n], y[:n], batch_size=256)
    found = flags_of(model, images, share=0.02)
    if not images.random and computes_in_float32(model):
        found += _of_slopes(slope_ratios(model, images))
    x, y = images.x, images.y
    whole = attack(model, x, y, PGD(threat=Linf(eps=1.0), steps=40, step_size=0.1))
    left = float((~whole.success).mean())
    if left > 0:
        found.append(
            f"PGD without a bound (linf eps=1) leaves {left:.0%} of images standing, though every image lies "
            "in its reach: its gradients lead nowhere; attack without them (square()), or by transfer"
        )
    return found + _of_attacks(model, images, ball, queries)


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


def _of_attacks(model: keras.Model, images: ImageSet, ball: Threat, queries: int) -> list[str]:
    """What attacks at one threat say of each other."""
    x, y, found, where = images.x, images.y, [], registry.spec(ball)
    forty = PGD(threat=ball, steps=40, step_size=0.0625)
    attacks = (forty.replace(steps=1, step_size=1.0), forty, forty.replace(loss=MarginObjective()))
    once, often, margin = (attack(model, x, y, one) for one in attacks)
    if once.success.mean() > often.success.mean():
        gap = once.success.mean() - often.success.mean()
        found.append(
            f"one PGD step breaks {gap:.0%} more images than forty ({where}): the loss is rugged near the "
            "images; more restarts and Square say more than more steps"
        )
    more = margin.success.mean() - often.success.mean()
    if more > 0.1:  # of honest nets up to 7 points
        found.append(
            f"PGD on the margin breaks {more:.0%} more images than on the cross-entropy ({where}), which has "
            "run out of float32 or misleads: measure with loss='margin', or autoattack"
        )
    standing = images.correct & ~(once.success | often.success | margin.success)
    if standing.any():
        blind = attack(model, x[standing], y[standing], Square(threat=ball, steps=queries))
        if (broken := int(blind.success.sum())) > 0.02 * len(x):
            found.append(
                f"Square, which sees no gradient, breaks {broken} images of {len(x)} that gradients did not "
                f"({where}): they are masked; count Square's figure, with more queries"
            )
    return found
