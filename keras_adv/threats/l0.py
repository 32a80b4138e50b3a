"""l0: how many values, or whole pixels, change at all."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm, mask_of_largest
from keras_adv.registry import option, register
from keras_adv.threats.base import Threat
from keras_adv.threats.planes import fill_greedily, way_to_plane


def two_thirds(u: Tensor, weight: Tensor) -> Tensor:
    """argmin_{t >= 0} weight t^(2/3) + (t - u)^2 / 2 for u >= 0, exact (Cao, Sun & Xu, 2013).

    0 up to u = 2 (2 weight / 3)^(3/4), where the two local minima are equally low.
    """
    above = u > 2.0 * ops.power(2.0 * weight / 3.0, 0.75)
    u, weight = ops.where(above, u, 1.0), ops.where(above, weight, 0.0)
    a = ops.sqrt(ops.maximum(ops.power(u, 4) / 256.0 - 8.0 * ops.power(weight, 3) / 729.0, 0.0))
    half = ops.square(u) / 16.0
    # half - a by its product with half + a, 8 weight^3 / 729: the difference cancels for small weights
    less = 8.0 * ops.power(weight, 3) / 729.0 / (half + a)
    b = 2.0 * (ops.power(half + a, 1 / 3) + ops.power(less, 1 / 3))
    root = ops.sqrt(b)
    return ops.where(above, ops.power(root + ops.sqrt(ops.maximum(2.0 * u / root - b, 0.0)), 3) / 8.0, 0.0)


@register("threat", "l0")
class L0(Threat):
    """norm = number of changed pixels (any channel), or of changed values.

    Not convex; its "dual" is taken over changes of one unit of the count and at most 1 per value.

    Args:
        eps: largest count, or None.
        pixels: count whole pixels (the thesis, 5.15) rather than values.
        operator: the prox that PDPGD takes: "l2/3" that of the 2/3-norm, of a pixel's largest channel, which
            also shrinks what it keeps (the author's experiments); "l0" the norm's own, a hard threshold,
            which keeps too much.
    """

    eps: float | None = option(default=None, low=0.0)
    pixels: bool = option(default=True)
    operator: str = option(default="l2/3", choices=("l0", "l2/3"))

    @property
    def norm_name(self) -> str:
        return "l0" if self.pixels else "l0 of values"

    def groups(self, v: Tensor) -> Tensor:
        """v (B, H, W, C) as (B, groups, values of a group): what counts as one change, pixels or values."""
        size = v.shape[-1] if self.pixels else 1
        return ops.reshape(v, (-1, math.prod(v.shape[1:]) // size, size))

    def _keep(self, v: Tensor, score: Tensor, count: Tensor) -> Tensor:
        grouped = self.groups(v)
        return ops.reshape(grouped * mask_of_largest(score, count)[:, :, None], ops.shape(v))

    def norm(self, delta: Tensor) -> Tensor:
        changed = ops.max(ops.abs(self.groups(delta)), axis=2) > 0
        return ops.sum(ops.cast(changed, "float32"), axis=1)

    def dual(self, g: Tensor) -> Tensor:
        return ops.max(ops.sum(ops.abs(self.groups(g)), axis=2), axis=1)

    def steepest(self, g: Tensor) -> Tensor:
        return self._keep(ops.sign(g), ops.sum(ops.abs(self.groups(g)), axis=2), 1)

    def ascent(self, g: Tensor, x: Tensor) -> Tensor:
        """g / |g|_2: a dense step, of which `project` keeps the largest (PGD_0, arXiv:1909.05040)."""
        del x
        return g / expand_like(ops.maximum(l2_norm(g), TINY), g)

    def _count(self, eps: Tensor | None) -> Tensor:
        return ops.cast(ops.floor(ops.convert_to_tensor(self.radius(eps), "float32")), "int32")

    def project_to_ball(self, delta: Tensor, eps: Tensor | None = None) -> Tensor:
        size = ops.sum(ops.square(self.groups(delta)), axis=2)
        return self._keep(delta, size, self._count(eps))

    def project(self, x: Tensor, origin: Tensor, eps: Tensor | None = None) -> Tensor:
        """Nearest point of ball and box: counts are spent where, after clipping, they bring x nearest."""
        boxed = ops.clip(x, 0.0, 1.0)
        if self.eps is None and eps is None:
            return boxed
        lost = ops.square(x - origin) - ops.square(x - boxed)
        return origin + self._keep(boxed - origin, ops.sum(self.groups(lost), axis=2), self._count(eps))

    def sample(self, origin: Tensor, seeds: Tensor, eps: Tensor | None = None) -> Tensor:
        shape = tuple(origin.shape[1:])
        other = noise.uniform(noise.fold(seeds, 1), shape)
        lot = noise.uniform(noise.fold(seeds, 2), shape)
        score = ops.max(self.groups(lot), axis=2)
        return ops.clip(origin + self._keep(other - origin, score, self._count(eps)), 0.0, 1.0)

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        grouped = self.groups(v)
        if self.operator == "l0":  # a group is kept if its |v|_2^2 / 2 pays for the weight of one count
            kept = ops.sum(ops.square(grouped), axis=2) > 2.0 * weight[:, None]
            return ops.reshape(grouped * ops.cast(kept, "float32")[:, :, None], ops.shape(v))
        size = ops.abs(grouped)
        largest = ops.max(size, axis=2)
        shrunk = two_thirds(largest, weight[:, None])
        leads = size == largest[:, :, None]
        kept = ops.where(leads, ops.sign(grouped) * shrunk[:, :, None], grouped)
        return ops.reshape(ops.where(shrunk[:, :, None] > 0, kept, 0.0), ops.shape(v))

    def project_to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        way = way_to_plane(x, w, b)
        worth = ops.sum(self.groups(ops.reshape(way.gain * way.free, ops.shape(x))), axis=2)
        size = x.shape[-1] if self.pixels else 1
        # values of one pixel stay together: they share the pixel's worth
        order_by = ops.reshape(ops.repeat(worth[:, :, None], size, axis=2), ops.shape(way.gain))
        move = way.direction * fill_greedily(way.gain, order_by, way.free, way.need)
        return ops.clip(x + ops.reshape(move, ops.shape(x)), 0.0, 1.0)
