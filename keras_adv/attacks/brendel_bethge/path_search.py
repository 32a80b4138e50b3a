"""The search for a step of the Brendel & Bethge attack on the path of its norm (see `trust_region`)."""

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
    """Where the search on a path stands, all (B,)."""

    s: Tensor
    k: Tensor
    left: Tensor  # the plane holds for an s between left and right
    right: Tensor
    low: Tensor  # the largest k known to be inside, and its s
    at_low: Tensor
    high: Tensor  # the smallest k known to be outside, and its s
    at_high: Tensor
    short: Tensor  # |d|^2 at low
    long: Tensor  # and at high
    open: Tensor


def follow(p: Region, path: Path, s: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
    """(s, k) of the path's point with the largest k inside the trust region.

    Newton's method on the plane for s; where the plane holds, a step of k to where |d| = r, exact as long as the
    path stays on a straight piece. What leaves the known bounds is replaced by a middle.
    """
    zero = ops.zeros_like(s)
    tried = zero + HUGE if path.end is None else dot(path.end, path.end)
    begin = Search(
        s, zero, zero - HUGE, zero + HUGE, zero, s, zero + path.most, zero + HUGE, zero, tried, reached
    )
    size = ops.sqrt(dot(p.b, p.b))

    def going(n: Tensor, *state: Tensor) -> Tensor:
        return ops.logical_and(n < ROUNDS, ops.any(state[-1]))

    def body(n: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return n + 1, *improve(p, path, size, Search(*state))

    done = Search(*ops.while_loop(going, body, (ops.zeros((), "int32"), *begin))[1:])
    return done.at_low, done.low


def improve(p: Region, path: Path, size: Tensor, now: Search) -> Search:
    """One round of `follow`."""
    s, k, limit = now.s, now.k, ops.square(p.r)
    d, by_s, by_k = path.curve(s, k)
    off, speed, length = p.c - dot(p.b, d), dot(p.b, by_s), dot(d, d)
    fits = ops.abs(off) <= 1e-4 * ops.abs(p.c) + 1e-6 * size * ops.sqrt(length)
    left, right = ops.where(off > 0, s, now.left), ops.where(off < 0, s, now.right)
    fits = ops.logical_or(fits, right - left <= 1e-6 * ops.abs(s))
    inside = ops.logical_and(fits, length <= 1.001 * limit)
    # too long already, and longer still at the plane
    beyond = ops.logical_and(length > 1.5 * limit, off * dot(d, by_s) > 0)
    outside = ops.logical_or(ops.logical_and(fits, ops.logical_not(inside)), beyond)
    on = ops.logical_or(fits, outside)
    low, at_low = ops.where(inside, k, now.low), ops.where(inside, s, now.at_low)
    high, at_high = ops.where(outside, k, now.high), ops.where(outside, s, now.at_high)
    end = ops.logical_or(length >= 0.98 * limit, k >= path.most)
    end = ops.logical_or(ops.logical_and(inside, end), high - low <= 1e-4 * high)
    # towards the plane
    full = s + off / ops.where(speed > 0, speed, 1.0)
    bounded = ops.logical_and(left > -HUGE, right < HUGE)
    far = ops.where(bounded, (left + right) / 2, s + ops.sign(off) * ops.maximum(ops.abs(s), 1e-3))
    good = ops.logical_and(speed > 0, ops.logical_and(full > left, full < right))
    plane = ops.where(good, full, far)
    # along the plane
    turn = -dot(p.b, by_k) / ops.where(speed > 0, speed, 1.0)
    along = by_k + turn[:, None] * by_s
    square, half = dot(along, along), dot(d, along)
    gap = limit - length
    root = ops.square(half) + square * gap
    ahead = (ops.sqrt(ops.maximum(root, 0.0)) - half) / ops.maximum(square, TINY)
    newton = gap / ops.where(half > 0, 2.0 * half, TINY)
    ahead = k + ops.where(root > 0, ahead, newton)
    short, long = ops.where(inside, length, now.short), ops.where(outside, length, now.long)
    part = ops.clip((limit - short) / ops.maximum(long - short, TINY), 0.05, 0.95)
    middle = ops.where(long < HUGE, low + part * (high - low), ops.sqrt((low + 1e-3) * (high + 1e-3)) - 1e-3)
    jump = ops.logical_and(long >= HUGE, ops.logical_or(ahead >= high, square <= 0))
    half_way = ops.where(high < path.most, HUGE, (low + high) / 2)  # the first piece may promise too much
    ahead = ops.minimum(ahead, half_way)
    safe = ops.logical_and(square > 0, ops.logical_and(ahead > low, ahead < high))
    safe = ops.logical_and(safe, ops.logical_not(beyond))
    share = (middle - low) / ops.maximum(high - low, TINY)
    between = ops.where(ops.abs(at_high) < HUGE, at_low + share * (at_high - at_low), at_low)
    new_k = ops.where(jump, path.most, ops.where(safe, ahead, middle))
    new_s = ops.where(ops.logical_or(jump, safe), s + turn * (new_k - k), between)
    going = ops.logical_and(now.open, ops.logical_not(end))
    return Search(
        ops.where(on, new_s, plane),
        ops.where(on, new_k, k),
        ops.where(on, -HUGE, left),
        ops.where(on, HUGE, right),
        ops.where(now.open, low, now.low),
        ops.where(now.open, at_low, now.at_low),
        high,
        at_high,
        short,
        long,
        going,
    )
