"""l2: the Euclidean length of the change."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, flatten, l2_norm
from keras_adv.registry import option, register
from keras_adv.threats.base import Threat
from keras_adv.threats.planes import fill_evenly, way_to_plane


@register("threat", "l2")
class L2(Threat):
    """norm = |delta|_2, its own dual.

    Args:
        eps: radius in [0, 1] units (0.5 on CIFAR-10, 2 on MNIST), or None.
        box: whether images stay in [0, 1]; False, for FGSM, DeepFool and the like, repeats what a paper
            measured so.
    """

    metric_rounds = 5
    eps: float | None = option(default=None, low=0.0)
    box: bool = option(default=True)

    def norm(self, delta: Tensor) -> Tensor:
        return l2_norm(delta)

    def dual(self, g: Tensor) -> Tensor:
        return l2_norm(g)

    def steepest(self, g: Tensor) -> Tensor:
        # first by the largest entry, so that tiny float32 gradients do not vanish when squared
        scaled = g / expand_like(ops.maximum(ops.max(ops.abs(flatten(g)), axis=1), 1e-35), g)
        return scaled / expand_like(ops.maximum(l2_norm(scaled), TINY), g)

    def project_to_ball(self, delta: Tensor, eps: Tensor | None = None) -> Tensor:
        norm, r = l2_norm(delta), self.radius(eps)
        factor = ops.where(norm > r, r / ops.maximum(norm, TINY), 1.0)
        return delta * expand_like(factor, delta)

    def sample(self, origin: Tensor, seeds: Tensor, eps: Tensor | None = None) -> Tensor:
        shape = tuple(origin.shape[1:])
        direction = self.steepest(noise.normal(noise.fold(seeds, 1), shape))
        u = noise.uniform(noise.fold(seeds, 2), (1,))[:, 0]
        length = self.radius(eps) * ops.power(u, 1.0 / math.prod(shape))
        return self.project(origin + expand_like(length, origin) * direction, origin, eps)

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        kept = ops.maximum(0.0, 1.0 - weight / ops.maximum(l2_norm(v), TINY))  # thesis 5.12
        return v * expand_like(kept, v)

    def project_to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        way = way_to_plane(x, w, b)
        move = way.direction * fill_evenly(way.gain, way.gain, way.free, way.need)
        return ops.clip(x + ops.reshape(move, ops.shape(x)), 0.0, 1.0)
