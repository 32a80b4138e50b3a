"""The search for a step of the Brendel & Bethge attack on the curve of its norm (see `step`)."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.arrays import TINY, Tensor, dot
from keras_adv.attacks.brendel_bethge.paths import HUGE, PATHS, ROUNDS, Path, Region, shortest
from keras_adv.backend import where_rows
from keras_adv.threats import Threat


def search(threat: Threat, p: Region) -> Tensor:
    """The step d (B, D) of linf, l2 or l1."""
    s, reached = shortest(p)
    path = PATHS[threat.name](p, s)
    whole = ops.zeros_like(reached)
    if path.end is not None:
        whole = ops.logical_and(reached, dot(path.end, path.end) <= ops.square(p.r))
    s, k = follow(p, path, s, ops.logical_and(reached, ops.logical_not(whole)))
    straight = ops.clip(s[:, None] * p.b, p.low, p.high)
    d = where_rows(reached, path.curve(s, k)[0], straight)
    return d if path.end is None else where_rows(whole, path.end, d)


class Search(NamedTuple):
    """Where the search on a path stands, (B,) each.

    Attributes:
        s: first coordinate of the point to evaluate next.
        k: second coordinate of that point.
        left: lower bound of the s that meets the plane at this k.
        right: upper bound of that s.
        low: the largest k whose point on the plane is known to be inside the trust region.
        at_low: its s.
        high: the smallest k whose point on the plane is known to be outside.
        at_high: its s, or HUGE.
        short: |d|^2 at low.
        long: |d|^2 at high, or HUGE.
        open: bool, the search goes on.
    """

    s: Tensor
    k: Tensor
    left: Tensor
    right: Tensor
    low: Tensor
    at_low: Tensor
    high: Tensor
    at_high: Tensor
    short: Tensor
    long: Tensor
    open: Tensor


class Point(NamedTuple):
    """The path at (s, k), and how it lies to plane and trust region.

    Attributes:
        d: (B, D) the step.
        by_s: (B, D) its derivative by s.
        by_k: (B, D) its derivative by k.
        off: (B,) c - <b, d>, what is missing to the plane.
        speed: (B,) <b, by_s>, at least 0.
        length: (B,) |d|_2^2.
    """

    d: Tensor
    by_s: Tensor
    by_k: Tensor
    off: Tensor
    speed: Tensor
    length: Tensor


def follow(p: Region, path: Path, s: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
    """(s, k) of the path's point with the largest k inside the trust region.

    Two searches in one: at a fixed k, <b, d> grows with s, and Newton's method finds the s of the plane; on
    the plane |d| grows with k, and each round steps to the k where |d| = r if the path stayed on its straight
    piece. A step that leaves the bounds known so far is replaced by one into their middle, so that the search
    cannot fail.
    """
    zero = ops.zeros_like(s)
    tried = zero + HUGE if path.end is None else dot(path.end, path.end)
    begin = Search(
        s, zero, zero - HUGE, zero + HUGE, zero, s, zero + path.most, zero + HUGE, zero, tried, reached
    )
    size = ops.sqrt(dot(p.b, p.b))

    def unfinished(n: Tensor, *state: Tensor) -> Tensor:
        return ops.logical_and(n < ROUNDS, ops.any(state[-1]))

    def body(n: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return n + 1, *improve(p, path, size, Search(*state))

    done = Search(*ops.while_loop(unfinished, body, (ops.zeros((), "int32"), *begin))[1:])
    return done.at_low, done.low


def improve(p: Region, path: Path, size: Tensor, now: Search) -> Search:
    """One round of `follow`: judge the point (s, k), tighten the bounds, and choose the next point.

    The point fits where it is on the plane. If it fits, it is inside or outside the trust region, and k
    moves; if it does not, s moves at the same k. A point that is much too long, and would be longer still on
    the plane, is outside already.
    """
    s, k, limit = now.s, now.k, ops.square(p.r)
    d, by_s, by_k = path.curve(s, k)
    at = Point(d, by_s, by_k, p.c - dot(p.b, d), dot(p.b, by_s), dot(d, d))
    fits = ops.abs(at.off) <= 1e-4 * ops.abs(p.c) + 1e-6 * size * ops.sqrt(at.length)
    left, right = ops.where(at.off > 0, s, now.left), ops.where(at.off < 0, s, now.right)
    fits = ops.logical_or(fits, right - left <= 1e-6 * ops.abs(s))
    inside = ops.logical_and(fits, at.length <= 1.001 * limit)
    beyond = ops.logical_and(at.length > 1.5 * limit, at.off * dot(d, by_s) > 0)
    outside = ops.logical_or(ops.logical_and(fits, ops.logical_not(inside)), beyond)
    bounds = now._replace(
        low=ops.where(inside, k, now.low),
        at_low=ops.where(inside, s, now.at_low),
        high=ops.where(outside, k, now.high),
        at_high=ops.where(outside, s, now.at_high),
        short=ops.where(inside, at.length, now.short),
        long=ops.where(outside, at.length, now.long),
    )
    full = ops.logical_or(at.length >= 0.98 * limit, k >= path.most)
    end = ops.logical_or(ops.logical_and(inside, full), bounds.high - bounds.low <= 1e-4 * bounds.high)
    moves_k = ops.logical_or(fits, outside)
    new_s, new_k = _along_the_plane(p, path, at, bounds, beyond)
    return bounds._replace(
        s=ops.where(moves_k, new_s, _to_the_plane(at, s, left, right)),
        k=ops.where(moves_k, new_k, k),
        left=ops.where(moves_k, -HUGE, left),
        right=ops.where(moves_k, HUGE, right),
        low=ops.where(now.open, bounds.low, now.low),
        at_low=ops.where(now.open, bounds.at_low, now.at_low),
        open=ops.logical_and(now.open, ops.logical_not(end)),
    )


def _to_the_plane(at: Point, s: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(B,) the next s at the same k: Newton's, where it stays between left and right; else their middle, or,
    where one of them is not known yet, twice as far."""
    newton = s + at.off / ops.where(at.speed > 0, at.speed, 1.0)
    bounded = ops.logical_and(left > -HUGE, right < HUGE)
    twice = s + ops.sign(at.off) * ops.maximum(ops.abs(s), 1e-3)
    good = ops.logical_and(at.speed > 0, ops.logical_and(newton > left, newton < right))
    return ops.where(good, newton, ops.where(bounded, (left + right) / 2, twice))


def _along_the_plane(
    p: Region, path: Path, at: Point, bounds: Search, beyond: Tensor
) -> tuple[Tensor, Tensor]:
    """(the next s, the next k) (B,), on the plane.

    With s moving by `slope` for each unit of k the plane holds, and d moves along v = by_k + slope by_s:
    the next k is where |d + t v|^2 = r^2, at the larger root t of a quadratic. Where no point is known to be
    outside and the root is beyond the largest k (or v is 0), k jumps there; where the root leaves the bounds,
    k is interpolated between them by their |d|^2, and s with it.
    """
    s, k, limit = bounds.s, bounds.k, ops.square(p.r)
    slope = -dot(p.b, at.by_k) / ops.where(at.speed > 0, at.speed, 1.0)
    v = at.by_k + slope[:, None] * at.by_s
    square, half, gap = dot(v, v), dot(at.d, v), limit - at.length
    discriminant = ops.square(half) + square * gap
    root = (ops.sqrt(ops.maximum(discriminant, 0.0)) - half) / ops.maximum(square, TINY)
    linear = gap / ops.where(half > 0, 2.0 * half, TINY)
    ahead = k + ops.where(discriminant > 0, root, linear)
    no_outside = bounds.long >= HUGE
    part = ops.clip((limit - bounds.short) / ops.maximum(bounds.long - bounds.short, TINY), 0.05, 0.95)
    geometric = ops.sqrt((bounds.low + 1e-3) * (bounds.high + 1e-3)) - 1e-3
    middle = ops.where(no_outside, geometric, bounds.low + part * (bounds.high - bounds.low))
    jump = ops.logical_and(no_outside, ops.logical_or(ahead >= bounds.high, square <= 0))
    # the first piece may promise too much
    ahead = ops.minimum(ahead, ops.where(bounds.high < path.most, HUGE, (bounds.low + bounds.high) / 2))
    safe = ops.logical_and(square > 0, ops.logical_and(ahead > bounds.low, ahead < bounds.high))
    safe = ops.logical_and(safe, ops.logical_not(beyond))
    share = (middle - bounds.low) / ops.maximum(bounds.high - bounds.low, TINY)
    between = bounds.at_low + share * (bounds.at_high - bounds.at_low)
    between = ops.where(ops.abs(bounds.at_high) < HUGE, between, bounds.at_low)
    new_k = ops.where(jump, path.most, ops.where(safe, ahead, middle))
    return ops.where(ops.logical_or(jump, safe), s + slope * (new_k - k), between), new_k
