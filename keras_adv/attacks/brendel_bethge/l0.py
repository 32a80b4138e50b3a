"""The step of the Brendel & Bethge attack in l0 (see `step`).

The count of values that differ from x0 is not convex. With multipliers 1/k for the count and s for the plane,
the Lagrangian falls apart into values: a value either stays on x0, d_i = u_i, or costs one count and goes to
the best point of its box, d_i = clip(s b_i). It is put back on x0 where that raises |d_i - s b_i|^2 by at
most k:

    (u_i - s b_i)^2 - (clip(s b_i) - s b_i)^2 <= k.

So the larger k, the more values are put back. The rest must still reach the plane inside the trust region: k
is found by bisection. Without the trust region the fewest values that reach the plane are those with the
largest gains; where they stay inside, they are the answer and nothing is searched.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.arrays import Tensor, dot
from keras_adv.attacks.brendel_bethge.paths import Region, greedily, shortest
from keras_adv.backend import where_rows

BISECTIONS = 8


class Partition(NamedTuple):
    """Which values are put back on x0, and where the others go.

    Attributes:
        back: (B, D) bool: d_i = u_i.
        s: (B,) the others have d_i = clip(s b_i).
        allowed: (B,) bool: it reaches the plane inside the trust region.
    """

    back: Tensor
    s: Tensor
    allowed: Tensor


def sparse_step(p: Region, channels: int) -> Tensor:
    """The step d (B, D) that leaves the fewest values (pixels of so many channels) off x0.

    Where the plane is out of reach, the shortest way towards it.
    """
    s, reached = shortest(p)
    few = _fewest(p, channels)
    searched = ops.logical_and(reached, ops.logical_not(few.allowed))
    most = _bisected(p, channels, s, searched)
    back = where_rows(few.allowed, few.back, most.back)
    back = ops.logical_and(back, reached[:, None])
    s = ops.where(reached, ops.where(few.allowed, few.s, most.s), s)
    return ops.where(back, p.u, ops.clip(s[:, None] * p.b, p.low, p.high))


def _fewest(p: Region, channels: int) -> Partition:
    """The fewest values that reach the plane, the largest gains first, without a look at the trust region."""
    need = p.c - dot(p.b, p.u)
    up = p.b * ops.where(need < 0, -1.0, 1.0)[:, None] > 0
    gain = ops.abs(p.b) * ops.where(up, p.high - p.u, p.u - p.low)
    return _partition(p, greedily(_of_pixels(gain, channels), gain, ops.abs(need)) <= 0)


def _bisected(p: Region, channels: int, s: Tensor, searched: Tensor) -> Partition:
    """The partition with the largest k that is allowed, for the images that are `searched` (B,); from the
    shortest way s."""
    largest = ops.max(_rise(p, s, channels), axis=1) * 4.0 + 1e-9
    offset = 1e-7 * largest  # bisection on a logarithmic scale that includes 0

    def unfinished(n: Tensor, *state: Tensor) -> Tensor:
        return ops.logical_and(n < BISECTIONS, ops.any(searched))

    def halve(n: Tensor, low: Tensor, high: Tensor, *best: Tensor) -> tuple[Tensor, ...]:
        k = ops.sqrt((low + offset) * (high + offset))
        known = Partition(*best)
        tried = _partition(p, _rise(p, known.s, channels) <= k[:, None])  # at the s of the best so far
        low, high = ops.where(tried.allowed, k, low), ops.where(tried.allowed, high, k)
        back = where_rows(tried.allowed, tried.back, known.back)
        return n + 1, low, high, back, ops.where(tried.allowed, tried.s, known.s), known.allowed

    nothing_back = Partition(ops.zeros_like(p.u, dtype="bool"), s, searched)
    first = (ops.zeros((), "int32"), ops.zeros_like(s), largest, *nothing_back)
    return Partition(*ops.while_loop(unfinished, halve, first)[3:])


def _rise(p: Region, s: Tensor, channels: int) -> Tensor:
    """(B, D) what putting a value (a pixel) back on x0 adds to |d - s b|_2^2."""
    line = s[:, None] * p.b
    rise = ops.square(p.u - line) - ops.square(ops.clip(line, p.low, p.high) - line)
    return _of_pixels(rise, channels)


def _partition(p: Region, back: Tensor) -> Partition:
    """The shortest way to the plane for the other values, with the values `back` (B, D) on x0."""
    rest, fixed = ops.where(back, 0.0, p.b), ops.where(back, p.u, 0.0)
    limit = ops.square(p.r)
    radius = ops.sqrt(ops.maximum(limit - dot(fixed, fixed), 0.0))
    s, reached = shortest(p._replace(b=rest, c=p.c - dot(p.b, fixed), r=radius))
    d = fixed + ops.clip(s[:, None] * rest, p.low, p.high)
    return Partition(back, s, ops.logical_and(reached, dot(d, d) <= limit * 1.001))


def _of_pixels(cost: Tensor, channels: int) -> Tensor:
    """(B, D) with the sum over a pixel's values in place of each of them."""
    if channels == 1:
        return cost
    pixels = ops.reshape(cost, (ops.shape(cost)[0], -1, channels))
    sums = ops.broadcast_to(ops.sum(pixels, axis=2, keepdims=True), ops.shape(pixels))
    return ops.reshape(sums, ops.shape(cost))
