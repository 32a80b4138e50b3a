"""Whether an attack finds adversarial images that are known to be there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import noise, registry
from keras_adv.arrays import Tensor, expand_like
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import MarginObjective
from keras_adv.attacks.task import Examples, Task
from keras_adv.backend import FrozenNet, compile
from keras_adv.evaluation.image_set import ImageSet
from keras_adv.features import has_features
from keras_adv.threats import Threat

PLANTS, INSIDE = 32, 48
"""Images around which one is planted, and points of the ball around each that tell it from the rest."""
REACHED = 0.9
"""Where the threshold lies between the points inside and the planted one."""
FEWEST = 10
"""Planted images below which nothing is said."""


def of_planted(model: keras.Model, images: ImageSet, ball: Threat) -> list[str]:
    """What the binarization test (Zimmermann et al., arXiv:2206.13991) says of PGD on this model."""
    found, planted = find_planted(model, images, ball) if has_features(model) else (0, 0)
    if planted < FEWEST or found >= 0.8 * planted:
        return []
    return [
        f"PGD finds {found} of {planted} adversarial images that were planted ({registry.spec(ball)}): two "
        "classes on this model's features, told apart so that one exists in each ball; its gradients do not "
        "lead there, and a robust accuracy by them says little: attack without them (square()), by transfer"
    ]


def find_planted(model: keras.Model, images: ImageSet, ball: Threat) -> tuple[int, int]:
    """(how many PGD found, how many were planted).

    Around each image a point of the ball's surface is planted: a linear function of the features (their
    difference from the mean of points inside, whitened by their covariance) is above a threshold there, and
    below it inside. The attack ascends it from the image. The paper fits a logistic regression.

    Cost: `INSIDE` + 1 forward and 40 forward-backward passes for each of `PLANTS` images.
    """
    x = images.x[images.correct][:PLANTS]
    if not len(x):
        return 0, 0
    eps = np.full(len(x), float(ball.radius()), "float32")
    seeds = np.asarray(noise.seeds(1, np.arange(len(x), dtype="int32")))

    def of_inside(x: Tensor, seeds: Tensor, eps: Tensor) -> Tensor:
        return FrozenNet(model).features(ball.sample(x, seeds, 0.95 * eps))

    def of_surface(x: Tensor, seeds: Tensor, eps: Tensor) -> Tensor:
        return FrozenNet(model).features(on_surface(ball, x, seeds, eps))

    at = compile(of_inside, model)
    draws = [np.asarray(noise.fold(seeds, n)) for n in range(INSIDE + 1)]
    inside = [np.asarray(at(x, draw, eps), "float64") for draw in draws[:-1]]
    surface = np.asarray(compile(of_surface, model)(x, draws[-1], eps), "float64")
    heads = [_head(*pair) for pair in zip(np.stack(inside, axis=1), surface, strict=True)]
    kept = np.array([head is not None for head in heads])
    if not kept.any():
        return 0, 0
    made = [head for head in heads if head is not None]
    w, b = (np.stack([head[k] for head in made]).astype("float32") for k in (0, 1))
    examples = Examples.of_batch(x[kept], np.zeros(kept.sum(), "int32"), eps=eps[kept])
    forty = PGD(threat=ball, steps=40, step_size=0.0625, loss=MarginObjective())

    def search(examples: Examples, w: Tensor, b: Tensor) -> Tensor:
        return forty.run(Task(lambda v: _two_classes(FrozenNet(model), v, w, b), examples)).success

    run = compile(search, model)
    return int(np.asarray(run(examples.as_tensors(), w, b)).sum()), int(kept.sum())


def on_surface(ball: Threat, x: Tensor, seeds: Tensor, eps: Tensor) -> Tensor:
    """A random point of the surface of each image's ball, radius eps (B,), put into the box."""
    away = ball.steepest(noise.normal(seeds, tuple(x.shape[1:]))) * expand_like(eps, x)
    return ball.project(x + away, x, eps)


def _head(inside: np.ndarray, planted: np.ndarray) -> tuple[np.ndarray, Any] | None:
    """(w (F,), b) with w . features + b > 0 at the planted point, < 0 inside; None where there is none."""
    mean = inside.mean(0)
    apart, towards = inside - mean, planted - mean
    size = np.square(apart).sum() / len(inside)
    if not np.isfinite(size) or size == 0 or not np.isfinite(towards).all():
        return None
    # (C + ridge)^-1 towards, C the covariance, by the points and not by the features
    ridge = 1e-2 * size
    inner = np.linalg.solve(apart @ apart.T / len(inside) + ridge * np.eye(len(inside)), apart @ towards)
    w = (towards - apart.T @ inner / len(inside)) / ridge
    scores, top = apart @ w, float(towards @ w)
    if not top > 1.1 * max(scores.max(), 0.0):
        return None
    w, scores = w / top, scores / top
    return w, -(mean @ w) - (scores.max() + REACHED * (1.0 - scores.max()))


def _two_classes(net: Any, images: Tensor, w: Tensor, b: Tensor) -> Tensor:
    z = ops.sum(net.features(images) * w, axis=1) + b
    return ops.stack([-z, z], axis=1)
