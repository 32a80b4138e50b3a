"""What attacks at one threat say of each other."""

from __future__ import annotations

import keras
import numpy as np

from keras_adv import noise, registry
from keras_adv.arrays import Tensor
from keras_adv.attacks import PGD, Attack, Square
from keras_adv.attacks.objectives import MarginObjective
from keras_adv.backend import FrozenNet, compile
from keras_adv.evaluation.auditing.planted import on_surface
from keras_adv.evaluation.auditing.surrogates import misleading_layers, straight_through
from keras_adv.evaluation.image_set import ImageSet, logits_of
from keras_adv.evaluation.runner import attack
from keras_adv.losses import predicted_class
from keras_adv.threats import Linf, Threat

POINTS = 50
"""Random points of the ball that are tried for each image that stands."""


def of_attacks(model: keras.Model, images: ImageSet, ball: Threat, queries: int) -> list[str]:
    """The findings of `audit` that attacks make."""
    x, y, found, where = images.x, images.y, [], registry.spec(ball)
    whole = attack(model, x, y, PGD(threat=Linf(eps=1.0), steps=40, step_size=0.1))
    if (left := float((~whole.success).mean())) > 0:
        found.append(
            f"PGD without a bound (linf eps=1) leaves {left:.0%} of images standing, though every image lies "
            "in its reach: its gradients lead nowhere; attack without them (square()), or by transfer"
        )
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
    return found + of_the_standing(model, images, standing, ball, queries)


def of_the_standing(
    model: keras.Model, images: ImageSet, standing: np.ndarray, ball: Threat, queries: int
) -> list[str]:
    """What breaks images (N,) bool that 40 steps leave: more steps and restarts, random points, gradients
    straight through layers that mislead, and Square; each on all of them."""
    if not standing.any():
        return []
    where, x, y = registry.spec(ball), images.x[standing], images.y[standing]
    found, most = [], 0.02 * len(images.x)

    def broken(one: Attack, of: keras.Model = model) -> int:
        result = attack(of, x, y, one)
        if of is model:
            return int((result.clean & result.success).sum())
        return int((np.asarray(predicted_class(logits_of(model, result.images, 256))) != y).sum())

    longer = PGD(threat=ball, steps=100, step_size=0.03, restarts=2, loss=MarginObjective())
    if (more := broken(longer)) > 5 * most:
        found.append(
            f"100 steps, twice, break {more} images of {len(images.x)} that 40 did not ({where}): 40 do not "
            "converge; raise steps and restarts until the figure stays, or use autoattack"
        )
    if (by_chance := _random_points(model, x, y, ball)) > most:
        found.append(
            f"one of {POINTS} random points breaks {by_chance} images of {len(images.x)} that gradients did "
            f"not ({where}): they lead away from what lies beside the images; attack without them (square())"
        )
    misleading = [] if images.random else misleading_layers(model, images.x)
    if misleading:
        names = ", ".join(repr(layer.name) for layer in misleading)
        through, gained = straight_through(model, misleading, x.shape[1:]), 0
        if through is not None:
            gained = broken(longer, through)
        found.append(
            f"the gradient of the layers {names} is not their slope; with gradients straight through those "
            f"that keep the shape (BPDA), PGD breaks {gained} images of {len(images.x)} that it did not "
            f"before ({where}): attack a copy of the model without them, and judge its images by the model"
        )
    if (blind := broken(Square(threat=ball, steps=queries))) > most:
        found.append(
            f"Square, which sees no gradient, breaks {blind} images of {len(images.x)} that gradients did "
            f"not ({where}): they are masked; count Square's figure, with more queries"
        )
    return found


def _random_points(model: keras.Model, x: np.ndarray, y: np.ndarray, ball: Threat) -> int:
    """How many images one of `POINTS` points of their balls' surface breaks."""
    eps = np.full(len(x), float(ball.radius()), "float32")
    seeds = np.asarray(noise.seeds(2, np.arange(len(x), dtype="int32")))

    def broken(x: Tensor, y: Tensor, seeds: Tensor, eps: Tensor) -> Tensor:
        return predicted_class(FrozenNet(model)(on_surface(ball, x, seeds, eps))) != y

    run, hit = compile(broken, model), np.zeros(len(x), bool)
    for n in range(POINTS):
        hit |= np.asarray(run(x, y, np.asarray(noise.fold(seeds, n)), eps))
    return int(hit.sum())
