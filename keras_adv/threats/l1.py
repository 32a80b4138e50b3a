"""l1: the sum of absolute changes."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.registry import option, register
from keras_adv.threats.base import TINY, Tensor, Threat, fill_greedily, flat, room, rows, take_top


def shrink_l1(v: Tensor, radius: Tensor) -> Tensor:
    """Nearest point of the l1 ball, radius (B,); v itself inside. Not differentiable on JAX.

    sign(v) max(|v| - theta, 0), where theta is found by Newton's method on the piecewise linear
    sum max(|v| - theta, 0) = radius (Michelot, 1986): exact after finitely many rounds, about 6, without a sort.
    """
    size = ops.abs(flat(v))

    def unsettled(count: Tensor, theta: Tensor, before: Tensor) -> Tensor:
        return ops.logical_and(count < 50, ops.any(theta > before))

    def newton(count: Tensor, theta: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        active = ops.cast(size > theta[:, None], "float32")
        many = ops.maximum(ops.sum(active, axis=1), 1.0)
        return count + 1, ops.maximum((ops.sum(size * active, axis=1) - radius) / many, theta), theta

    first = ops.zeros_like(radius)
    _, theta, _ = ops.while_loop(unsettled, newton, (ops.zeros((), "int32"), first, first - 1.0))
    shrunk = ops.sign(v) * ops.maximum(ops.abs(v) - rows(theta, v), 0.0)
    return ops.where(rows(ops.sum(size, axis=1) <= radius, v), v, shrunk)


@register("threat", "l1")
class L1(Threat):
    """norm = sum |delta_i|, dual = l-infinity.

    Args:
        eps: radius in [0, 1] units (12 on CIFAR-10), or None.
        top: share of the coordinates that one gradient step moves (SLIDE, arXiv:1904.13000; 1% there).
    """

    eps: float | None = option(default=None, low=0.0)
    top: float = option(default=0.01, above=0.0, high=1.0)

    def norm(self, delta: Tensor) -> Tensor:
        return ops.sum(ops.abs(flat(delta)), axis=1)

    def dual(self, g: Tensor) -> Tensor:
        return ops.max(ops.abs(flat(g)), axis=1)

    def steepest(self, g: Tensor) -> Tensor:
        flat_g = flat(g)
        return ops.reshape(ops.sign(flat_g) * take_top(ops.abs(flat_g), 1), ops.shape(g))

    def ascent(self, g: Tensor, x: Tensor) -> Tensor:
        """SLIDE: equal steps along the `top` largest |g_i| of those that the box does not hold back."""
        flat_g, flat_x = flat(g), flat(x)
        pinned = ops.logical_or(
            ops.logical_and(flat_x <= 0.0, flat_g < 0.0),
            ops.logical_and(flat_x >= 1.0, flat_g > 0.0),
        )
        free = ops.where(pinned, 0.0, flat_g)
        count = max(1, round(self.top * math.prod(g.shape[1:])))
        step = ops.sign(free) * take_top(ops.abs(free), count)
        length = ops.maximum(ops.sum(ops.abs(step), axis=1, keepdims=True), 1.0)
        return ops.reshape(step / length, ops.shape(g))

    def shrink(self, delta: Tensor) -> Tensor:
        return shrink_l1(delta, ops.full((ops.shape(delta)[0],), self.radius()))

    def sample(self, origin: Tensor, seeds: Tensor) -> Tensor:
        # exponential sizes, random signs and one spare exponential: uniform in the l1 ball
        shape = tuple(origin.shape[1:])
        size = -ops.log(1.0 - noise.uniform(noise.fold(seeds, 1), shape))
        sign = ops.where(noise.uniform(noise.fold(seeds, 2), shape) < 0.5, -1.0, 1.0)
        spare = -ops.log(1.0 - noise.uniform(noise.fold(seeds, 3), (1,))[:, 0])
        total = ops.sum(flat(size), axis=1) + spare
        length = self.radius() / ops.maximum(total, TINY)
        return self.project(origin + sign * size * rows(length, origin), origin)

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        return ops.sign(v) * ops.maximum(ops.abs(v) - rows(weight, v), 0.0)  # 5.13, with the |.|

    def to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        way = room(x, w, b)
        move = way.direction * fill_greedily(way.gain, way.gain, way.free, way.need)
        return ops.clip(x + ops.reshape(move, ops.shape(x)), 0.0, 1.0)
