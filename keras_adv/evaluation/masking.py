"""Signs of gradient masking: findings that put a robust accuracy in doubt."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np

from keras_adv.arrays import flatten
from keras_adv.attacks import PGD
from keras_adv.backend import FrozenNet, Net, compile, value_and_grad
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.runner import Result, attack
from keras_adv.losses import cross_entropy
from keras_adv.threats import Linf


def zero_gradients(model: keras.Model, x: np.ndarray, y: np.ndarray) -> float:
    """Share, in [0, 1], of images x (N, H, W, C) with labels y (N,) whose cross-entropy gradient is exactly
    0: a sign attack does not move there."""

    def size(v: Any, labels: Any) -> Any:
        logits = Net(model, frozen=True).logits
        return Linf().norm(flatten(value_and_grad(lambda u: (cross_entropy(logits(u), labels), 0), v)[2]))

    return float((np.asarray(compile(size, model)(x, y)) == 0).mean())


def is_random(model: keras.Model, x: np.ndarray) -> bool:
    """Whether two evaluations of the same images x (N, H, W, C) differ."""
    look = compile(lambda v, draw: FrozenNet(model)(v, draw), model)
    first, second = (np.asarray(look(x, np.int32(draw))) for draw in (1, 2))
    return bool(np.abs(first - second).max() > 1e-6 * max(1.0, float(np.abs(first).max())))


def flags(model: keras.Model, x: np.ndarray, y: np.ndarray, result: Result | None = None) -> list[str]:
    """AutoAttack's warnings as sentences: a random model, gradients that vanish, a Square that finds more.

    Args:
        model: what was attacked.
        x: some of the images (N, H, W, C) in [0, 1]; 100 say enough.
        y: their labels (N,), integers.
        result: of an "autoattack(...)", to see what Square added.
    """
    found = []
    if is_random(model, x):
        found.append("the model answers differently each time: use autoattack(version='rand') and eot")
    zero = zero_gradients(model, x, y)
    if zero > 0.02:
        found.append(f"the cross-entropy gradient is exactly 0 on {zero:.0%} of images: try loss='scaled'")
    left = list(result.parts.items()) if result is not None else []
    for (_, before), (spec, after) in itertools.pairwise(left):
        if spec.startswith("square") and after < before:
            found.append(
                f"Square, which sees no gradient, broke {before - after} images that gradients did not"
            )
    return found


def audit(model: keras.Model, x: np.ndarray, y: np.ndarray, n: int = 100) -> list[str]:
    """What looks like masked gradients, in sentences; an empty list where nothing does.

    Checks on the first `n` images: `flags`; a PGD in the whole box (eps = 1) that does not break everything;
    one step that does better than forty at eps = 0.1; forty on the margin that break over 5 points more
    images than forty on the cross-entropy.
    Cost: about 123 forward-backward passes an image.
    """
    images = classify(model, x[:n], y[:n], batch_size=256)
    x, y = images.x, images.y
    found = flags(model, x, y)
    whole = attack(model, x, y, PGD(threat=Linf(eps=1.0), steps=40, step_size=0.1))
    left = float((~whole.success).mean())
    if left > 0:
        found.append(f"PGD without a bound (linf eps=1) leaves {left:.0%} of images standing")
    forty = "pgd(steps=40, step_size=0.0625, loss='{}')"
    specs = ("pgd(steps=1, step_size=1)", forty.format("cross_entropy"), forty.format("margin"))
    once, often, margin = (attack(model, x, y, spec) for spec in specs)
    if once.success.mean() > often.success.mean():
        gap = once.success.mean() - often.success.mean()
        found.append(f"one PGD step breaks {gap:.0%} more images than forty (linf eps=0.1)")
    more = margin.success.mean() - often.success.mean()
    if more > 0.05:
        found.append(
            f"PGD on the margin breaks {more:.0%} more images than on the cross-entropy (linf eps=0.1)"
        )
    return found
