"""One step of the Brendel & Bethge attack: towards the clean image, along the decision boundary.

min_d norm(x + d - x0) subject to <b, d> = c, |d|_2 <= r and x + d in the box, for a batch of images at once.
The minimiser of the Lagrangian is a clipped line in every norm: with u = x0 - x,

    l2:   d = clip(k u + s b)                         k in [0, 1]
    l1:   d = clip(median(u, s b - k, s b + k))       k in [0, MOST]
    linf: d = clip(s b) to |d - u| <= t, and to the box, t falling linearly with k in [0, 1]

so two numbers of an image are sought: s, which holds the plane, and k, as large as the trust region allows. k = 0 is
the shortest way to the plane. l0 is not convex: there values are put back on x0, the cheapest first.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.attacks.trust_paths import HUGE, PATHS, ROUNDS, Path, Region, dot, greedily, shortest
from keras_adv.threats import Threat
from keras_adv.threats.base import TINY, Tensor, flat, rows


def move(threat: Threat, origin: Tensor, x: Tensor, b: Tensor, c: Tensor, r: Tensor) -> Tensor:
    """The image x + d. Where the plane is out of reach, as far towards it as box and trust region allow.

    Args:
        threat: the norm to be made small: linf, l2, l1 or l0.
        origin: the clean images x0 (B, ...).
        x: the images now.
        b: normal of the plane (B, ...).
        c: (B,) how far <b, d> is to go.
        r: (B,) radius of the trust region.
    """
    size = ops.maximum(ops.max(ops.abs(flat(b)), axis=1), 1e-35)
    now, clean = flat(x), flat(origin)
    region = Region(clean - now, flat(b) / size[:, None], c / size, -now, 1.0 - now, r)
    s, reached = shortest(region)
    if threat.name == "l0":
        return ops.reshape(put_back(threat, region, clean, now, s, reached, x), ops.shape(x))
    path = PATHS[threat.name](region, s)
    whole = ops.zeros_like(reached)
    if path.end is not None:
        whole = ops.logical_and(reached, dot(path.end, path.end) <= ops.square(r))
    s, k = follow(region, path, s, ops.logical_and(reached, ops.logical_not(whole)))
    straight = ops.clip(s[:, None] * region.b, region.low, region.high)
    d = ops.where(reached[:, None], path.curve(s, k)[0], straight)
    if path.end is not None:
        d = ops.where(whole[:, None], path.end, d)
    return ops.clip(x + ops.reshape(d, ops.shape(x)), 0.0, 1.0)


def halfway(threat: Threat, x: Tensor, far: Tensor, share: Tensor) -> Tensor:
    """An image between x (share 0) and `far` (share 1), on the way that suits the norm."""
    change, share = far - x, rows(share, x)
    if threat.name == "linf":
        return x + ops.clip(change, -share, share)
    if threat.name == "l1":
        return x + ops.sign(change) * ops.maximum(ops.abs(change) - (1.0 - share), 0.0)
    if threat.name == "l0":
        return ops.where(ops.abs(change) <= share, far, x)
    return x + share * change


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


def put_back(
    threat: Threat, p: Region, clean: Tensor, now: Tensor, s: Tensor, reached: Tensor, like: Tensor
) -> Tensor:
    """l0: the new image, flat. Values are put back on x0 in the order of what that takes from the rest.

    Without the trust region the fewest values that reach the plane are those with the largest gains. With it, a
    value is put back where its share of |d - s b|^2 / 2, d the shortest way to the plane, rises by at most k.
    """
    need = p.c - dot(p.b, p.u)
    up = p.b * ops.where(need < 0, -1.0, 1.0)[:, None] > 0
    gain = ops.abs(p.b) * ops.where(up, p.high - p.u, p.u - p.low)
    limit = ops.square(p.r)

    def together(cost: Tensor) -> Tensor:
        if not getattr(threat, "pixels", False) or like.shape[-1] == 1:
            return cost
        cost = ops.reshape(cost, (ops.shape(cost)[0], -1, like.shape[-1]))
        total = ops.sum(cost, axis=2, keepdims=True)
        return ops.reshape(ops.broadcast_to(total, ops.shape(cost)), ops.shape(now))

    def settle(back: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(s, d, allowed) of the shortest way to the plane with the values `back` (B, D) on x0."""
        rest = ops.where(back, 0.0, p.b)
        fixed = ops.where(back, p.u, 0.0)
        left = ops.sqrt(ops.maximum(limit - dot(fixed, fixed), 0.0))
        s, reached = shortest(p._replace(b=rest, c=p.c - dot(p.b, fixed), r=left))
        d = fixed + ops.clip(s[:, None] * rest, p.low, p.high)
        return s, d, ops.logical_and(reached, dot(d, d) <= limit * 1.001)

    few = greedily(together(gain), gain, ops.abs(need)) <= 0
    few_s, _, good = settle(few)
    zero = ops.zeros_like(s)

    def cost(s: Tensor) -> Tensor:
        line = s[:, None] * p.b
        best = ops.clip(line, p.low, p.high)
        return together(ops.square(p.u - line) - ops.square(best - line))

    k_max = ops.max(cost(s), axis=1) * 4.0 + 1e-9

    def going(n: Tensor, *state: Tensor) -> Tensor:
        return ops.logical_and(n < 8, ops.any(wanted))

    def halve(n: Tensor, low: Tensor, high: Tensor, back: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        middle = ops.sqrt((low + 1e-7 * k_max) * (high + 1e-7 * k_max))
        tried = cost(s) <= middle[:, None]
        new_s, _, fine = settle(tried)
        low, high = ops.where(fine, middle, low), ops.where(fine, high, middle)
        return n + 1, low, high, ops.where(fine[:, None], tried, back), ops.where(fine, new_s, s)

    wanted = ops.logical_and(reached, ops.logical_not(good))
    first = (ops.zeros((), "int32"), zero, k_max, ops.zeros_like(few), s)
    _, _, _, back, best_s = ops.while_loop(going, halve, first)
    back = ops.where(good[:, None], few, back)
    best_s = ops.where(good, few_s, best_s)
    back = ops.logical_and(back, reached[:, None])
    best_s = ops.where(reached, best_s, s)
    rest = ops.clip(now + ops.clip(best_s[:, None] * p.b, p.low, p.high), 0.0, 1.0)
    return ops.where(back, clean, rest)
