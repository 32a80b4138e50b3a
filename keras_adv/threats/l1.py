"""l1: the sum of absolute changes."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, dot, expand_like, flatten
from keras_adv.registry import option, register
from keras_adv.threats.base import Threat
from keras_adv.threats.planes import fill_greedily, way_to_plane


def l1_threshold(size: Tensor, radius: Tensor, metric: Tensor | None = None) -> Tensor:
    """(B,) least theta >= 0 with sum metric max(size - theta, 0) <= radius; size >= 0 and metric > 0 (None:
    1) are (B, D), radius >= 0 (B,).

    The nearest point of the l1 ball is sign(v) max(|v| - theta, 0). Newton's method on that piecewise linear
    sum (Michelot, 1986), from the better of the bounds that the largest entry and that the mean give: it
    rises to the root, exact after finitely many rounds, without a sort. Not differentiable on JAX.
    """

    def solve(weights: Tensor, before: Tensor) -> Tensor:
        much = ops.maximum(ops.sum(weights, axis=1), 1e-30)
        return ops.maximum((dot(size, weights) - radius) / much, before)

    def unsettled(count: Tensor, theta: Tensor, before: Tensor) -> Tensor:
        return ops.logical_and(count < 50, ops.any(theta > before))

    def newton(count: Tensor, theta: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        active = ops.cast(size > theta[:, None], "float32")
        return count + 1, solve(active if metric is None else active * metric, theta), theta

    alone = radius[:, None] if metric is None else radius[:, None] / metric
    first = ops.maximum(ops.max(size - alone, axis=1), 0.0)
    first = solve(ops.ones_like(size) if metric is None else metric, first)
    return ops.while_loop(unsettled, newton, (ops.zeros((), "int32"), first, first - 1.0))[1]


def boxed_threshold(size: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """(B,) least theta >= 0 with sum min(max(size - theta, 0), room) <= radius; (B, D), (B, D), (B,).

    The sum falls in theta, piecewise linear: Newton's method, inside a bracket that also halves.
    """

    def total(theta: Tensor) -> tuple[Tensor, Tensor]:
        over = size - theta[:, None]
        moving = ops.cast(ops.logical_and(over > 0, over < room), "float32")
        return ops.sum(ops.clip(over, 0.0, room), axis=1), ops.sum(moving, axis=1)

    def unsettled(count: Tensor, theta: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return ops.logical_and(count < 90, ops.any(high - low > 1e-7 * high + 1e-12))

    def improve(count: Tensor, theta: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
        value, slope = total(theta)
        gap = value - radius
        low, high = ops.where(gap > 0, theta, low), ops.where(gap > 0, high, theta)
        # at the root to rounding: close the bracket on this side
        low = ops.where(ops.logical_and(gap <= 0, gap > -2e-7 * radius), high, low)
        newton = theta + gap / ops.maximum(slope, 1.0) + 1e-7 * theta
        inside = ops.logical_and(ops.logical_and(newton > low, newton < high), slope > 0)
        inside = ops.logical_and(inside, count % 3 < 2)  # Newton can crawl: every third round halves
        return count + 1, ops.where(inside, newton, (low + high) / 2), low, high

    zero = ops.zeros_like(radius)
    high = ops.where(total(zero)[0] <= radius, 0.0, ops.max(size, axis=1))
    first = (ops.zeros((), "int32"), zero, zero, high)
    return ops.while_loop(unsettled, improve, first)[3]


@register("threat", "l1")
class L1(Threat):
    """norm = sum |delta_i|, dual = l-infinity.

    Args:
        eps: radius in [0, 1] units (12 on CIFAR-10), or None.
        top: share of the coordinates that one gradient step moves (SLIDE, arXiv:1904.13000; 1% there).
        dense: a step is g / |g|_1, all coordinates, and a point outside is drawn towards the centre of the
            ball in place of its nearest point, as in Foolbox's L1ProjectedGradientDescentAttack,
            `pgd(threat=l1(eps=10, dense=True), steps=50, step_size=0.025, loss='softmax_cross_entropy')`.
            Weaker by far; for tables that were made with it.
    """

    eps: float | None = option(default=None, low=0.0)
    top: float = option(default=0.01, above=0.0, high=1.0)
    dense: bool = option(default=False)

    def norm(self, delta: Tensor) -> Tensor:
        return ops.sum(ops.abs(flatten(delta)), axis=1)

    def dual(self, g: Tensor) -> Tensor:
        return ops.max(ops.abs(flatten(g)), axis=1)

    def steepest(self, g: Tensor) -> Tensor:
        flat_g = flatten(g)
        largest = ops.one_hot(ops.argmax(ops.abs(flat_g), axis=1), flat_g.shape[1])
        return ops.reshape(ops.sign(flat_g) * largest, ops.shape(g))

    def ascent(self, g: Tensor, x: Tensor) -> Tensor:
        """SLIDE: equal steps along the `top` largest |g_i| of those that the box does not hold back; `dense`:
        g / |g|_1."""
        if self.dense:
            return g / expand_like(ops.maximum(self.norm(g), 1e-35), g)
        flat_g, flat_x = flatten(g), flatten(x)
        pinned = ops.logical_or(
            ops.logical_and(flat_x <= 0.0, flat_g < 0.0),
            ops.logical_and(flat_x >= 1.0, flat_g > 0.0),
        )
        free = ops.where(pinned, 0.0, flat_g)
        size = ops.abs(free)
        count = max(1, round(self.top * math.prod(g.shape[1:])))
        least = ops.top_k(size, count)[0][:, -1:]
        step = ops.sign(free) * ops.cast(size >= least, "float32")
        length = ops.maximum(ops.sum(ops.abs(step), axis=1, keepdims=True), 1.0)
        return ops.reshape(step / length, ops.shape(g))

    def project_to_ball(self, delta: Tensor, eps: Tensor | None = None) -> Tensor:
        radius = ops.zeros((ops.shape(delta)[0],)) + self.radius(eps)
        if self.dense:
            return delta * expand_like(ops.minimum(radius / ops.maximum(self.norm(delta), TINY), 1.0), delta)
        theta = l1_threshold(ops.abs(flatten(delta)), radius)
        return ops.sign(delta) * ops.maximum(ops.abs(delta) - expand_like(theta, delta), 0.0)

    def project(self, x: Tensor, origin: Tensor, eps: Tensor | None = None) -> Tensor:
        """Nearest point of ball and box, exact: sign(d) min(max(|d| - theta, 0), way to the box), d = x -
        origin; `dense`: d times the largest factor up to 1 that the ball allows, then the box."""
        if self.dense or (self.eps is None and eps is None):
            return super().project(x, origin, eps)
        delta = x - origin
        way = ops.where(delta > 0, 1.0 - origin, origin)
        radius = ops.zeros((ops.shape(x)[0],)) + self.radius(eps)
        theta = boxed_threshold(ops.abs(flatten(delta)), flatten(way), radius)
        moved = ops.minimum(ops.maximum(ops.abs(delta) - expand_like(theta, x), 0.0), way)
        return ops.clip(origin + ops.sign(delta) * moved, 0.0, 1.0)

    def sample(self, origin: Tensor, seeds: Tensor, eps: Tensor | None = None) -> Tensor:
        # exponential sizes, random signs and one spare exponential: uniform in the l1 ball
        shape = tuple(origin.shape[1:])
        size = -ops.log(1.0 - noise.uniform(noise.fold(seeds, 1), shape))
        sign = ops.where(noise.uniform(noise.fold(seeds, 2), shape) < 0.5, -1.0, 1.0)
        spare = -ops.log(1.0 - noise.uniform(noise.fold(seeds, 3), (1,))[:, 0])
        total = ops.sum(flatten(size), axis=1) + spare
        length = self.radius(eps) / ops.maximum(total, TINY)
        return self.project(origin + sign * size * expand_like(length, origin), origin, eps)

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        return ops.sign(v) * ops.maximum(ops.abs(v) - expand_like(weight, v), 0.0)  # 5.13, with the |.|

    def project_to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        way = way_to_plane(x, w, b)
        move = way.direction * fill_greedily(way.gain, way.gain, way.free, way.need)
        return ops.clip(x + ops.reshape(move, ops.shape(x)), 0.0, 1.0)
