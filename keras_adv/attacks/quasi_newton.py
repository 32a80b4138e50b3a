"""L-BFGS in a box for a batch of functions at once, one gradient a round: a state machine, as attacks are.

A round has two halves, so that whoever calls can change the function between them:

    moved, verdict = accept(state, value, g, low, high)   # value and gradient at state["x"]
    moved = propose(moved, verdict, low, high, scale)     # the next "x" to look at

Each step goes along the projection of at - t d on the box, d = H g from the last `PAIRS` pairs of the values that are
free (Nocedal & Wright, Numerical Optimization, 2nd ed., alg. 7.4 and sec. 16.7), t by backtracking to the parabola's
minimum until Armijo's condition holds. SciPy's L-BFGS-B takes images one by one on the host; this one takes the
values of a compiled batch, which is what an attack on thousands of images needs.
"""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.attacks.base import State
from keras_adv.threats.base import Tensor, flat, rows

PAIRS = 5
ARMIJO, SHORTEST, LONGEST = 1e-4, 0.1, 0.5
"""Share of the slope's promise that a step must keep; by what the next, shorter one is multiplied."""
SMALL, STILL = 1e-5, 1e-6
"""Converged: relative gain of a step; largest entry of the projected gradient."""
ROUNDING = 1e-7
"""What float32 leaves of a value, relative."""

NAMES = ("x", "at", "t", "value", "g", "s", "y")


class Verdict(NamedTuple):
    """What `accept` found, all (B,) bool."""

    taken: Tensor  # x is the new base
    finished: Tensor  # no step from here gains
    fresh: Tensor  # a new direction is due: not a shorter step along the old one


def begin(x: Tensor) -> State:
    """The state that looks at x (B, H, W, C) first.

    "at" is the best point, "value" and "g" belong to it, "x" is a step of length "t" away; "s" and "y"
    (B, PAIRS, D) are differences of points and gradients in units of |s|, the newest first; 0 where there is none.
    """
    zero = ops.zeros_like(x[:, 0, 0, 0])
    none = ops.repeat(ops.zeros_like(flat(x))[:, None], PAIRS, axis=1)
    return {
        "x": x,
        "at": x,
        "t": zero + 1.0,
        "value": zero + 1e30,
        "g": ops.zeros_like(x),
        "s": none,
        "y": none,
    }


def accept(state: State, value: Tensor, g: Tensor, low: Tensor, high: Tensor) -> tuple[State, Verdict]:
    """The state after value (B,) and gradient g were seen at state["x"]; low and high are the box."""
    x, at = state["x"], state["at"]
    slope, gain = dot(state["g"], x - at), state["value"] - value
    size = ops.maximum(ops.abs(state["value"]), 1.0)
    taken = gain >= -ARMIJO * slope - ROUNDING * size
    share = ops.clip(-slope / ops.maximum(-2.0 * (gain + slope), 1e-30), SHORTEST, LONGEST)
    share = ops.where(ops.isfinite(gain), share, SHORTEST)
    # a step so short that it gains nothing: the pairs mislead, and where there are none at `at` it ends
    lost = ops.logical_and(ops.logical_not(taken), -slope * share <= SMALL * size)
    stuck = ops.logical_and(lost, ops.logical_not(ops.any(state["s"][:, 0] != 0.0, axis=1)))
    s, y = remember(state, taken, x - at, g - state["g"])
    base, slopes = ops.where(rows(taken, x), x, at), ops.where(rows(taken, x), g, state["g"])
    moved = {
        "x": x,
        "at": base,
        "t": ops.where(stuck, 0.0, share * state["t"]),
        "value": ops.where(taken, value, state["value"]),
        "g": slopes,
        "s": ops.where(lost[:, None, None], 0.0, s),
        "y": ops.where(lost[:, None, None], 0.0, y),
    }
    small = gain <= SMALL * ops.maximum(size, ops.abs(value))
    still = ops.max(ops.abs(flat(ops.clip(base - slopes, low, high) - base)), axis=1) <= STILL
    finished = ops.logical_and(taken, ops.logical_or(small, still))
    fresh = ops.logical_or(taken, ops.logical_and(lost, ops.logical_not(stuck)))
    return moved, Verdict(taken, finished, fresh)


def remember(state: State, taken: Tensor, s: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs with (s, y), where it was taken and curves upwards."""
    s, y = flat(s), flat(y)
    ss, sy, yy = (ops.sum(v, axis=1) for v in (s * s, s * y, y * y))
    good = ops.logical_and(taken, sy > 1e-6 * ops.sqrt(ss * yy))
    unit = ops.where(good, 1.0 / ops.sqrt(ops.where(good, ss, 1.0)), 0.0)[:, None]

    def pushed(new: Tensor, old: Tensor) -> Tensor:
        return ops.where(
            good[:, None, None], ops.concatenate([(new * unit)[:, None], old[:, :-1]], axis=1), old
        )

    return pushed(s, state["s"]), pushed(y, state["y"])


def propose(state: State, verdict: Verdict, low: Tensor, high: Tensor, scale: Tensor) -> State:
    """The state with the next x; scale (B,) is the step along -g where there are no pairs, |step| <= 1."""
    at, g = state["at"], state["g"]
    held = ops.logical_or(ops.logical_and(at <= low, g >= 0), ops.logical_and(at >= high, g <= 0))
    free = ops.logical_not(held)
    scale = ops.minimum(scale, 1.0 / ops.maximum(ops.sqrt(dot(g, g)), 1e-12))
    d, gamma = newton(state, flat(ops.where(free, g, 0.0)), ops.cast(flat(free), "float32"), scale)
    t = ops.where(verdict.fresh, 1.0, state["t"])
    step = rows(t, g) * ops.where(free, ops.reshape(d, ops.shape(g)), 0.0)
    to = ops.clip(at - step, low, high)
    plain = ops.clip(at - rows(t * gamma, g) * g, low, high)  # always downhill
    return {**state, "x": ops.where(rows(dot(to - at, g) < 0, at), to, plain), "t": t}


def newton(state: State, g: Tensor, free: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """(H g (B, D), gamma (B,)): the two loops of L-BFGS on the free values (1, else 0), H = gamma without pairs.

    The loops run on the products of the pairs, so that their cost is a few passes over s and y.
    """
    s, y = state["s"], state["y"]
    among = ops.transpose(y * free[:, None], (0, 2, 1))
    sy, yy = ops.matmul(s, among), ops.matmul(y, among)
    sg, yg = (ops.matmul(v, g[:, :, None])[:, :, 0] for v in (s, y))
    curve, square = (ops.diagonal(v, axis1=1, axis2=2) for v in (sy, yy))
    good = curve > 1e-4 * ops.sqrt(square)
    rho = ops.where(good, 1.0 / ops.where(good, curve, 1.0), 0.0)
    gamma = scale
    for i in reversed(range(PAIRS)):
        gamma = ops.where(good[:, i], curve[:, i] / ops.where(good[:, i], square[:, i], 1.0), gamma)
    a: list[Tensor] = []
    for i in range(PAIRS):
        a.append(rho[:, i] * (sg[:, i] - sum(a[j] * sy[:, i, j] for j in range(i))))
    alpha = ops.stack(a, axis=1)
    back = gamma[:, None] * (yg - ops.sum(yy * alpha[:, None], axis=2))
    b: dict[int, Tensor] = {}
    for i in reversed(range(PAIRS)):
        b[i] = a[i] - rho[:, i] * (back[:, i] + sum(b[j] * sy[:, j, i] for j in range(i + 1, PAIRS)))
    beta = ops.stack([b[i] for i in range(PAIRS)], axis=1)
    kept, added = (ops.matmul(w[:, None], v)[:, 0] for w, v in ((alpha, y), (beta, s)))
    return gamma[:, None] * (g - kept) + added, gamma


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each image: (B,)."""
    return ops.sum(flat(a) * flat(b), axis=1)
