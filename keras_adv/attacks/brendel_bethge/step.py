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

from keras import ops

from keras_adv.arrays import Tensor, dot, expand_like, flatten
from keras_adv.attacks.brendel_bethge.newton import solve
from keras_adv.attacks.brendel_bethge.path_search import search
from keras_adv.attacks.brendel_bethge.paths import Region, greedily, shortest
from keras_adv.backend import where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.threats import Threat


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
    return advance(threat, origin, x, b, c, r, ops.stack([0.0 * c, 0.0 * c], axis=1))[0]


def advance(
    threat: Threat, origin: Tensor, x: Tensor, b: Tensor, c: Tensor, r: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """(`move`, the next `last`): `last` (B, 2) is where the step before ended, 0 at the first. It saves time only."""
    size = ops.maximum(ops.max(ops.abs(flatten(b)), axis=1), 1e-35)
    now, clean = flatten(x), flatten(origin)
    region = Region(clean - now, flatten(b) / size[:, None], c / size, -now, 1.0 - now, r)
    if threat.name == "l0":
        s, reached = shortest(region)
        return ops.reshape(put_back(threat, region, clean, now, s, reached, x), ops.shape(x)), last
    if threat.name == "l2":
        unit = ops.stack([size * r, r], axis=1)
        found = solve(region, last[:, 0] * unit[:, 0], ops.minimum(last[:, 1] * r, 1.0))
        last = ops.where(found.open[:, None], 0.0, ops.stack([found.s, found.k], axis=1) / unit)
        d = update_rows(found.open, lambda: search(threat, region), found.d)
    else:
        d = search(threat, region)
    return ops.clip(x + ops.reshape(d, ops.shape(x)), 0.0, 1.0), last


def halfway(threat: Threat, x: Tensor, far: Tensor, share: Tensor) -> Tensor:
    """An image between x (share 0) and `far` (share 1), on the way that suits the norm."""
    change, share = far - x, expand_like(share, x)
    if threat.name == "linf":
        return x + ops.clip(change, -share, share)
    if threat.name == "l1":
        return x + ops.sign(change) * ops.maximum(ops.abs(change) - (1.0 - share), 0.0)
    if threat.name == "l0":
        return ops.where(ops.abs(change) <= share, far, x)
    return x + share * change


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
        return n + 1, low, high, where_rows(fine, tried, back), ops.where(fine, new_s, s)

    wanted = ops.logical_and(reached, ops.logical_not(good))
    first = (ops.zeros((), "int32"), zero, k_max, ops.zeros_like(few), s)
    _, _, _, back, best_s = ops.while_loop(going, halve, first)
    back = where_rows(good, few, back)
    best_s = ops.where(good, few_s, best_s)
    back = ops.logical_and(back, reached[:, None])
    best_s = ops.where(reached, best_s, s)
    rest = ops.clip(now + ops.clip(best_s[:, None] * p.b, p.low, p.high), 0.0, 1.0)
    return ops.where(back, clean, rest)
