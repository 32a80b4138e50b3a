"""The step of the Brendel & Bethge attack in l2, by Newton's method from where the step before it ended.

As long as the same values stay off the box, d = clip(k u + s b) is linear in s and k, and meets plane and
trust region where a line meets a sphere: s and k have a closed form. From the s and k of the step before, two
rounds find the piece for nearly all images; what is not solved after a few is left to the slower search of
`path_search`, which cannot fail.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.arrays import TINY, Tensor, dot, never
from keras_adv.attacks.brendel_bethge.paths import Region

TRIES = 7
AIM, SHORTEST, LONGEST = 0.99, 0.97, 1.001
"""|d|^2 in units of r^2: what is aimed at, and the least and the most that is accepted."""


class Guess(NamedTuple):
    """A point of the path, and the step that it stands for.

    Attributes:
        s: (B,) multiple of b.
        k: (B,) multiple of u.
        raw: (B, D) k u + s b.
        d: (B, D) clip(raw), the step.
        off: (B,) c - <b, d>, what is missing to the plane.
        length: (B,) |d|_2^2.
        open: (B,) bool: no solution has been found yet.
    """

    s: Tensor
    k: Tensor
    raw: Tensor
    d: Tensor
    off: Tensor
    length: Tensor
    open: Tensor


def solve(p: Region, s: Tensor, k: Tensor) -> Guess:
    """The solutions, found from guesses s and k (B,), which may be 0; `open` where none was found."""

    def unfinished(n: Tensor, *state: Tensor) -> Tensor:
        return ops.logical_and(n < TRIES, ops.any(state[-1]))

    def body(n: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return n + 1, *next_guess(p, Guess(*state))

    first = guess(p, s, k)
    first = first._replace(open=ops.logical_not(is_solution(p, first, ops.zeros_like(s))))
    return Guess(*ops.while_loop(unfinished, body, (ops.zeros((), "int32"), *first))[1:])


def guess(p: Region, s: Tensor, k: Tensor) -> Guess:
    """The guess with these s and k (B,), not open."""
    raw = k[:, None] * p.u + s[:, None] * p.b
    d = ops.minimum(ops.maximum(raw, p.low), p.high)
    return Guess(s, k, raw, d, p.c - dot(p.b, d), dot(d, d), never(s))


def is_solution(p: Region, at: Guess, noise: Tensor) -> Tensor:
    """(B,) bool: it is on the plane, up to the rounding `noise` (B,) of <b, d>, and as long as the trust
    region allows."""
    limit = ops.square(p.r)
    on = ops.abs(at.off) <= 3e-4 * ops.abs(p.c) + noise
    full = ops.logical_or(at.length >= SHORTEST * limit, at.k >= 1.0)
    # out of reach: along b to the edge of the trust region
    edge = ops.logical_and(at.k <= 0.0, at.length >= 0.9985 * limit)
    edge = ops.logical_and(edge, at.off * p.c > 0)
    return ops.logical_and(at.length <= LONGEST * limit, ops.logical_or(ops.logical_and(on, full), edge))


def next_guess(p: Region, now: Guess) -> Guess:
    """One round for the images that are open.

    On the values that the box leaves free, d = k u + s b. <b, d> = c gives s = base - slope k; then |d|^2 is
    a parabola in k, and k goes to where it is the squared radius.
    """
    s, k, limit = now.s, now.k, ops.square(p.r)
    free = ops.cast(ops.equal(now.raw, now.d), "float32")
    b, u = p.b * free, p.u * free
    bb, bu, uu = dot(b, p.b), dot(b, p.u), dot(u, p.u)
    inner = bb * s * s + 2.0 * bu * s * k + uu * k * k
    stuck = now.length - inner  # of the values at the box
    over = 1.0 / ops.maximum(bb, TINY)
    base, slope = (now.off + s * bb + k * bu) * over, bu * over
    square = ops.maximum(uu - bu * slope, 0.0)
    low = base * base * bb + stuck
    reach = (AIM * limit - low) / ops.maximum(square, TINY)
    new_k = ops.minimum(ops.sqrt(ops.maximum(reach, 0.0)), 1.0)
    edge = ops.where(p.c < 0, -1.0, 1.0) * ops.sqrt(ops.maximum(limit - stuck, 0.0) * over)
    new_s = ops.where(low > limit, edge, base - slope * new_k)
    new = guess(p, ops.where(now.open, new_s, s), ops.where(now.open, new_k, k))
    noise = 1e-6 * (ops.abs(new.s) * bb + new.k * ops.abs(bu))
    return new._replace(open=ops.logical_and(now.open, ops.logical_not(is_solution(p, new, noise))))
