"""L-BFGS in a box for a batch of functions at once, one gradient a round: a state machine, as attacks are.

A round has two halves, so that whoever calls can change the function between them:

    moved, verdict = accept(state, value, g, low, high)   # value and gradient at state["x"]
    moved = propose(moved, verdict, low, high, scale)     # the next "x" to look at

Each step goes along the projection of at - t d on the box, d = H g from the last `PAIRS` pairs of the values
that are free (Nocedal & Wright, Numerical Optimization, 2nd ed., alg. 7.4 and sec. 16.7), t by backtracking
to the parabola's minimum until Armijo's condition holds. SciPy's L-BFGS-B takes images one by one on the
host; this one takes the values of a compiled batch, which is what an attack on thousands of images needs.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.arrays import Tensor, dot, flatten, zeros_per_image
from keras_adv.backend import where_rows

State = dict[str, Tensor]

PAIRS = 5
ARMIJO, SHORTEST, LONGEST = 1e-4, 0.1, 0.5
"""Armijo's constant, the least decrease of a step as a share of the predicted one; least and largest factor
by which a rejected step is shortened."""
SMALL, STILL = 1e-5, 1e-6
"""Converged: relative gain of a step; largest entry of the projected gradient."""
ROUNDING = 1e-7
"""What float32 leaves of a value, relative."""


class Verdict(NamedTuple):
    """What `accept` found, all (B,) bool."""

    taken: Tensor  # x is the new base
    finished: Tensor  # no step from here gains
    fresh: Tensor  # a new direction is due: not a shorter step along the old one


def begin(x: Tensor) -> State:
    """The state that looks at x (B, H, W, C) first.

    "at" (B, D) is the best point, "value" and "g" (B, D) belong to it, "x" is a step of length "t" away; "s"
    and "y" (B, PAIRS, D) are differences of points and gradients in units of |s|, "known" (B,) of them seen
    so far.
    """
    zero, at = zeros_per_image(x), flatten(x)
    none = ops.repeat(ops.zeros_like(at)[:, None], PAIRS, axis=1)
    first = {"x": x, "at": at, "t": zero + 1.0, "value": zero + 1e30, "g": ops.zeros_like(at)}
    return {**first, "s": none, "y": none, "known": ops.cast(zero, "int32")}


def accept(state: State, value: Tensor, g: Tensor, low: Tensor, high: Tensor) -> tuple[State, Verdict]:
    """The state after value (B,) and gradient g (B, H, W, C) were seen at state["x"]; low, high (B, D): the
    box.

    Entries of the state that are not its own stay as they are.
    """
    x, g, at = flatten(state["x"]), flatten(g), state["at"]
    slope, gain = dot(state["g"], x - at), state["value"] - value
    size = ops.maximum(ops.abs(state["value"]), 1.0)
    taken = gain >= -ARMIJO * slope - ROUNDING * size
    share = ops.clip(-slope / ops.maximum(-2.0 * (gain + slope), 1e-30), SHORTEST, LONGEST)
    share = ops.where(ops.isfinite(gain), share, SHORTEST)
    # a step so short that it gains nothing: the pairs mislead, and where there are none at `at` it ends
    lost = ops.logical_and(ops.logical_not(taken), -slope * share <= SMALL * size)
    stuck = ops.logical_and(lost, state["known"] == 0)
    pairs = remember(state, taken, x - at, g - state["g"])
    base, slopes = where_rows(taken, x, at), where_rows(taken, g, state["g"])
    moved = {
        **state,
        "at": base,
        "t": ops.where(stuck, 0.0, share * state["t"]),
        "value": ops.where(taken, value, state["value"]),
        "g": slopes,
        **pairs,
        "known": ops.where(lost, 0, pairs["known"]),
    }
    small = gain <= SMALL * ops.maximum(size, ops.abs(value))
    still = ops.max(ops.abs(ops.clip(base - slopes, low, high) - base), axis=1) <= STILL
    finished = ops.logical_and(taken, ops.logical_or(small, still))
    fresh = ops.logical_or(taken, ops.logical_and(lost, ops.logical_not(stuck)))
    return moved, Verdict(taken, finished, fresh)


def remember(state: State, taken: Tensor, s: Tensor, y: Tensor) -> State:
    """The pairs with (s, y) in the place of the oldest, where it was taken and curves upwards."""
    ss, sy, yy = (ops.sum(v, axis=1) for v in (s * s, s * y, y * y))
    good = ops.logical_and(taken, sy > 1e-6 * ops.sqrt(ss * yy))
    unit = (1.0 / ops.sqrt(ops.where(good, ss, 1.0)))[:, None]
    here = ops.logical_and(ops.arange(PAIRS)[None] == (state["known"] % PAIRS)[:, None], good[:, None])[
        :, :, None
    ]
    return {
        "s": ops.where(here, (s * unit)[:, None], state["s"]),
        "y": ops.where(here, (y * unit)[:, None], state["y"]),
        "known": state["known"] + ops.cast(good, "int32"),
    }


def propose(state: State, verdict: Verdict, low: Tensor, high: Tensor, scale: Tensor) -> State:
    """The state with the next x; scale (B,) is the step along -g where there are no pairs, |step| <= 1."""
    at, g = state["at"], state["g"]
    free = ops.cast(ops.clip(at - g, low, high) != at, "float32")  # the box does not hold it back
    scale = ops.minimum(scale, 1.0 / ops.maximum(ops.sqrt(dot(g, g)), 1e-12))
    d, gamma = lbfgs_direction(state, g * free, free, scale)
    t = ops.where(verdict.fresh, 1.0, state["t"])
    to = ops.clip(at - t[:, None] * d * free, low, high)
    plain = ops.clip(at - (t * gamma)[:, None] * g, low, high)  # always downhill
    to = where_rows(dot(to - at, g) < 0, to, plain)
    return {**state, "x": ops.reshape(to, ops.shape(state["x"])), "t": t}


def lbfgs_direction(state: State, g: Tensor, free: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """(H g (B, D), gamma (B,)): the two loops of L-BFGS on the free values (1, else 0), H = gamma without
    pairs.

    The loops run on the products of the pairs, so that their cost is a few passes over s and y.
    """
    s, y = state["s"], state["y"]
    among = ops.concatenate([y * free[:, None], g[:, None]], axis=1)
    age = ops.arange(PAIRS)[None]
    newest = ops.one_hot((state["known"][:, None] - 1 - age) % PAIRS, PAIRS)  # (B, age, place)
    sv, yv = (ops.matmul(newest, ops.einsum("bmd,bkd->bmk", v, among)) for v in (s, y))
    sy, yy = (ops.einsum("bik,bjk->bij", v[:, :, :-1], newest) for v in (sv, yv))
    curve, square = (ops.diagonal(v, axis1=1, axis2=2) for v in (sy, yy))
    good = ops.logical_and(age < state["known"][:, None], curve > 1e-4 * ops.sqrt(square))
    rho = ops.where(good, 1.0 / ops.where(good, curve, 1.0), 0.0)
    gamma = scale
    for i in reversed(range(PAIRS)):
        gamma = ops.where(good[:, i], curve[:, i] / ops.where(good[:, i], square[:, i], 1.0), gamma)
    a: list[Tensor] = []
    for i in range(PAIRS):
        a.append(rho[:, i] * (sv[:, i, -1] - sum(a[j] * sy[:, i, j] for j in range(i))))
    alpha = ops.stack(a, axis=1)
    back = gamma[:, None] * (yv[:, :, -1] - ops.sum(yy * alpha[:, None], axis=2))
    b: dict[int, Tensor] = {}
    for i in reversed(range(PAIRS)):
        b[i] = a[i] - rho[:, i] * (back[:, i] + sum(b[j] * sy[:, j, i] for j in range(i + 1, PAIRS)))
    beta = ops.stack([b[i] for i in range(PAIRS)], axis=1)
    kept, added = (ops.einsum("ba,bap,bpd->bd", w, newest, v) for w, v in ((alpha, y), (beta, s)))
    return gamma[:, None] * (g - kept) + added, gamma
