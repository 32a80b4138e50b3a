"""l-infinity: every pixel value may change by at most eps."""

from __future__ import annotations

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like, flatten
from keras_adv.registry import option, register
from keras_adv.threats.base import Threat
from keras_adv.threats.l1 import l1_threshold
from keras_adv.threats.planes import fill_evenly, way_to_plane


@register("threat", "linf")
class Linf(Threat):
    """norm = max |delta_i|, dual = l1.

    Args:
        eps: radius in [0, 1] units (8/255 on CIFAR-10, 0.3 on MNIST), or None.
        box: whether images stay in [0, 1]; False, for FGSM, DeepFool and the like, repeats what a paper
            measured so.
    """

    eps: float | None = option(default=None, low=0.0, high=1.0)
    box: bool = option(default=True)

    def norm(self, delta: Tensor) -> Tensor:
        return ops.max(ops.abs(flatten(delta)), axis=1)

    def dual(self, g: Tensor) -> Tensor:
        return ops.sum(ops.abs(flatten(g)), axis=1)

    def steepest(self, g: Tensor) -> Tensor:
        return ops.sign(g)

    def project_to_ball(self, delta: Tensor, eps: Tensor | None = None) -> Tensor:
        r = expand_like(self.radius(eps), delta)
        return ops.minimum(ops.maximum(delta, -r), r)

    def sample(self, origin: Tensor, seeds: Tensor, eps: Tensor | None = None) -> Tensor:
        drawn = 2.0 * noise.uniform(seeds, tuple(origin.shape[1:])) - 1.0
        return self.project(origin + expand_like(self.radius(eps), origin) * drawn, origin, eps)

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        # Moreau: v - weight * P(v / weight), P the projection on the unit l1 ball (thesis 5.11); the entries
        # that P shrinks by theta come out as theta
        return _capped(v, l1_threshold(ops.abs(flatten(v)), weight))

    def metric_prox(self, v: Tensor, weight: Tensor, metric: Tensor) -> Tensor:
        # as `prox`; at the cap theta the slope of the norm balances: sum metric max(|v| - theta, 0) = weight
        return _capped(v, l1_threshold(ops.abs(flatten(v)), weight, flatten(metric)))

    def project_to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        way = way_to_plane(x, w, b)
        move = way.direction * fill_evenly(way.gain, ops.abs(way.direction), way.free, way.need)
        return ops.clip(x + ops.reshape(move, ops.shape(x)), 0.0, 1.0)


def _capped(v: Tensor, theta: Tensor) -> Tensor:
    theta = expand_like(theta, v)
    return ops.minimum(ops.maximum(v, -theta), theta)
