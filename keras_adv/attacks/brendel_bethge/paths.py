"""The curves on which the steps of the Brendel & Bethge attack lie, one for each norm (see `step`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_adv.arrays import TINY, Tensor, dot

HUGE = 1e30
"""Stands for a bound that is not known."""
MOST = 300.0
"""Largest k of l1's path."""
ROUNDS = 25
"""Of each search."""
Curve = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(s, k) -> d, its derivative by s and its derivative by k; (B,) twice -> (B, D) three times."""


class Region(NamedTuple):
    """The problem of one step, images as rows (B, D).

    Attributes:
        u: (B, D) the way back to the clean image, x0 - x.
        b: (B, D) normal of the plane <b, d> = c, scaled to max |b| = 1.
        c: (B,) see b.
        low: (B, D) the box: low <= d <= high.
        high: see low.
        r: (B,) the trust region: |d|_2 <= r.
    """

    u: Tensor
    b: Tensor
    c: Tensor
    low: Tensor
    high: Tensor
    r: Tensor


class Path(NamedTuple):
    """The curve of a norm on which its steps lie.

    Attributes:
        curve: (s, k) -> d and its two derivatives.
        most: the largest k.
        end: (B, D) the d at the largest k, or None where that is not known beforehand.
    """

    curve: Curve
    most: float
    end: Tensor | None = None


def shortest(p: Region) -> tuple[Tensor, Tensor]:
    """(s, reached): the smallest |s| with which d = clip(s b) is on the plane, or as long as the radius.

    <b, d> is concave in |s| and |d|^2 is in s^2, so that Newton's method climbs to both without passing them.
    """
    sign = ops.where(p.c < 0, -1.0, 1.0)
    gain = ops.abs(p.b)
    room = ops.where(p.b * sign[:, None] > 0, p.high, -p.low)
    need, limit = ops.abs(p.c), ops.square(p.r)

    def unfinished(n: Tensor, to_plane: Tensor, to_edge: Tensor, still: Tensor) -> Tensor:
        return ops.logical_and(n < ROUNDS, ops.any(still))

    def newton(n: Tensor, to_plane: Tensor, to_edge: Tensor, still: Tensor) -> tuple[Tensor, ...]:
        one, two = to_plane[:, None] * gain, ops.sqrt(to_edge)[:, None] * gain
        free, loose = ops.cast(one < room, "float32"), ops.cast(two < room, "float32")
        short = need - dot(gain, ops.minimum(one, room))
        left = limit - ops.sum(ops.square(ops.minimum(two, room)), axis=1)
        step, wide = quotient(short, dot(gain * gain, free)), quotient(left, dot(gain * gain, loose))
        still = ops.logical_and(still, ops.logical_or(short > 1e-6 * need, left > 1e-6 * limit))
        to_plane, to_edge = (
            ops.where(still, ops.minimum(a + b, HUGE), a) for a, b in ((to_plane, step), (to_edge, wide))
        )
        return n + 1, to_plane, to_edge, still

    zero = ops.zeros_like(need)
    first = (ops.zeros((), "int32"), zero, zero, need >= 0)
    _, to_plane, to_edge, _ = ops.while_loop(unfinished, newton, first)
    edge = ops.sqrt(to_edge)
    return sign * ops.minimum(to_plane, edge), ops.logical_and(to_plane <= edge, to_plane < HUGE)


def quotient(missing: Tensor, speed: Tensor) -> Tensor:
    """missing / speed, not below 0; without end where there is no speed."""
    missing = ops.maximum(missing, 0.0)
    return ops.where(speed > 0, missing / ops.maximum(speed, TINY), ops.where(missing > 0, HUGE, 0.0))


def l2_path(p: Region, s: Tensor) -> Path:
    """d = clip(k u + s b): k = 1 puts d on the point of the plane nearest to x0."""

    def curve(s: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raw = k[:, None] * p.u + s[:, None] * p.b
        free = ops.cast(ops.logical_and(raw > p.low, raw < p.high), "float32")
        return ops.clip(raw, p.low, p.high), p.b * free, p.u * free

    return Path(curve, 1.0)


def l1_path(p: Region, s: Tensor) -> Path:
    """d = clip(median(u, s b - k, s b + k)): a value of x0 is left only where that gains much."""

    def curve(s: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        line, wide = s[:, None] * p.b, k[:, None]
        raw = ops.minimum(ops.maximum(p.u, line - wide), line + wide)
        free = ops.logical_and(raw != p.u, ops.logical_and(raw > p.low, raw < p.high))
        free = ops.cast(free, "float32")
        return ops.clip(raw, p.low, p.high), p.b * free, ops.sign(p.u - line) * free

    need = p.c - dot(p.b, p.u)
    up = p.b * ops.where(need < 0, -1.0, 1.0)[:, None] > 0
    room = ops.where(up, p.high - p.u, p.u - p.low)
    share = greedily(ops.abs(p.b), ops.abs(p.b) * room, ops.abs(need))
    return Path(curve, MOST, p.u + ops.where(up, room, -room) * share)


def linf_path(p: Region, s: Tensor) -> Path:
    """d = clip(s b) to the box and to |d - u| <= t: from where the shortest way ends to the least t of the
    plane."""
    side = ops.where(p.c < dot(p.b, p.u), -1.0, 1.0)
    sign, need = side[:, None], side * p.c
    gain, up = ops.abs(p.b), p.b * sign > 0
    room, back = ops.where(up, p.high, -p.low), ops.where(up, p.u, -p.u)
    first = ops.max(ops.abs(ops.clip(s[:, None] * p.b, p.low, p.high) - p.u), axis=1)

    def unfinished(n: Tensor, t: Tensor, still: Tensor) -> Tensor:
        return ops.logical_and(n < ROUNDS, ops.any(still))

    def newton(n: Tensor, t: Tensor, still: Tensor) -> tuple[Tensor, ...]:
        raw = back + t[:, None]
        short = need - dot(gain, ops.minimum(raw, room))
        still = ops.logical_and(still, short > 1e-6 * ops.abs(p.c))
        rise = quotient(short, dot(gain, ops.cast(raw < room, "float32")))
        return n + 1, ops.where(still, ops.minimum(t + rise, first), t), still

    zero = ops.zeros_like(first)
    _, least, _ = ops.while_loop(unfinished, newton, (ops.zeros((), "int32"), zero, first >= 0))
    span = first - least

    def curve(s: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t = (first - k * span)[:, None]
        raw, low, high = s[:, None] * p.b, p.u - t, p.u + t
        d = ops.minimum(ops.maximum(raw, ops.maximum(low, p.low)), ops.minimum(high, p.high))
        free = ops.cast(raw == d, "float32")
        pulled = ops.cast(d == low, "float32") - ops.cast(d == high, "float32")
        return d, p.b * free, pulled * (1.0 - free) * span[:, None]

    end = ops.clip(
        ops.minimum(ops.maximum(HUGE * sign * p.b, p.u - least[:, None]), p.u + least[:, None]), p.low, p.high
    )
    return Path(curve, 1.0, end)


def greedily(key: Tensor, gain: Tensor, need: Tensor) -> Tensor:
    """(B, D) share of each gain that is taken, largest keys first, until their sum is `need`.

    The least key taken whole is found by bisection and false position in turn on its logarithm.
    """
    zero = ops.zeros_like(need)
    top = ops.max(key, axis=1) * 1.0001
    first = (ops.zeros((), "int32"), zero + 1e-9, top, ops.sum(gain, axis=1), zero, top > 0)

    def unfinished(n: Tensor, *state: Tensor) -> Tensor:
        return ops.logical_and(n < ROUNDS, ops.any(state[-1]))

    def halve(
        n: Tensor, low: Tensor, high: Tensor, most: Tensor, least: Tensor, still: Tensor
    ) -> tuple[Tensor, ...]:
        part = (need - least) / ops.maximum(most - least, TINY)
        part = ops.where(n % 2 == 0, ops.clip(part, 0.02, 0.98), 0.5)
        middle = high * ops.power(low / ops.maximum(high, 1e-9), part)
        total = dot(gain, ops.cast(key > middle[:, None], "float32"))
        above = ops.logical_and(still, total > need)  # too much: fewer keys
        below = ops.logical_and(still, total <= need)
        low, most = ops.where(above, middle, low), ops.where(above, total, most)
        high, least = ops.where(below, middle, high), ops.where(below, total, least)
        still = ops.logical_and(still, high > low * 1.0001)
        return n + 1, low, high, most, least, still

    _, low, high, most, least, _ = ops.while_loop(unfinished, halve, first)
    part = ops.clip((need - least) / ops.maximum(most - least, TINY), 0.0, 1.0)
    whole, edge = key > high[:, None], key > low[:, None]
    return ops.where(whole, 1.0, ops.where(edge, part[:, None], 0.0))


PATHS: dict[str, Callable[[Region, Tensor], Path]] = {"l2": l2_path, "l1": l1_path, "linf": linf_path}
