"""Robust accuracy over several radii, in little more passes than at the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_adv import validate
from keras_adv.attacks import Attack
from keras_adv.attacks.task import Examples
from keras_adv.evaluation.image_set import ImageSet
from keras_adv.evaluation.result import Result
from keras_adv.evaluation.runner import attack_examples


def check_radii(attacks: Sequence[Attack], eps: Any) -> list[float]:
    """`eps` in ascending order, each once.

    Raises:
        InvalidInput: no radii, one of no number or of none that a threat takes, or attacks of several norms.
    """
    given = validate.as_array("eps", eps, "the radii of a curve, numbers")
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iuf":
        raise validate.invalid("eps", "the radii of a curve, a list of numbers", eps)
    radii = [float(r) for r in np.unique(given)]
    if not np.isfinite(radii).all() or radii[0] < 0:
        raise validate.invalid("eps", "finite and at least 0", radii)
    for attack in attacks:
        for r in radii:
            attack.threat.replace(eps=r)
    if len(names := {attack.threat.norm_name for attack in attacks}) > 1:
        raise validate.invalid("attacks", "of one norm, where `eps` is a list of radii", sorted(names))
    return radii


def least_radii(
    model: keras.Model,
    images: ImageSet,
    examples: Examples,
    attack: Attack,
    result: Result,
    radii: Sequence[float],
    **how: Any,
) -> tuple[np.ndarray, int]:
    """((N,) the least of `radii` in which each image is broken, infinite where none, 0 where it is
    misclassified anyway; the passes that this took).

    A minimal attack tells by its norms. A bounded one goes down: what the largest ball broke is attacked in
    the next smaller, by `Attack.continued` from there where there is such a form; what stands there counts as
    standing in all below. So each image is attacked in vain once, and left there when its margin no longer
    rises fast enough (`patience` of PGD).

    Args:
        result: the attack in the largest of the radii.
        radii: in ascending order (`check_radii`).
        how: as of `attack_examples`.
    """
    least = np.full(len(result.clean), np.inf)
    if attack.contract == "minimal":
        for r in radii[::-1]:
            least[result.clean & result.success & (result.distance <= r)] = r
        return np.where(result.clean, least, 0.0), 0
    least[result.success] = radii[-1]
    least[~result.clean] = 0.0
    found, passes, above, more = result.images, 0, radii[-1], attack.continued()
    for r in radii[-2::-1]:
        rows = least == above
        smaller = examples._replace(
            eps=np.full(len(least), min(r, images.x[0].size), "float32"),
            first=None if more is None else found,
        )
        again = attack_examples(model, images, smaller, more or attack, only=rows, **how)
        broken = rows & again.success
        least[broken], found, above = r, again.images, r
        passes += int(again.passes.sum())
    return least, passes


def curve(least: np.ndarray, radii: Sequence[float], passes: int) -> dict[str, Any]:
    """Robust accuracy at each radius, and the area below it from 0 to the largest radius over that radius
    (linear between radii, the clean accuracy at 0); the passes an image beyond those of the largest."""
    robust = [float((least > r).mean()) for r in radii]
    at = [0.0, *radii] if radii[0] > 0 else list(radii)
    below = [float((least > 0).mean()), *robust] if radii[0] > 0 else robust
    area = float(np.trapezoid(below, at)) / at[-1] if at[-1] > 0 else below[-1]
    return {"eps": list(radii), "robust_accuracy": robust, "auc": area, "passes": passes / len(least)}
