"""The geometry of a norm: everything an attack needs to know of it."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

from keras import ops

from keras_adv.registry import Spec
from keras_adv.validate import fail

Tensor = Any
TINY = 1e-12


class Threat(Spec):
    """A norm, its radius `eps`, and the box [0, 1] of images.

    eps is in input units of [0, 1]; None means "no radius": right for attacks that minimise the norm.
    All methods take batches (B, ...) and treat each image by itself.
    """

    eps: float | None
    metric_rounds: ClassVar[int] = 2
    """Rounds after which the prox in a diagonal metric has settled (PDPGD), where it has no closed form."""

    def radius(self, eps: Tensor | None = None) -> Tensor:
        """`eps`, or the threat's own, for those who need one. Raises InvalidInput when both are None."""
        if eps is None and self.eps is None:
            raise fail("eps", f"given, for example {self.name}(eps=0.1)", None)
        return self.eps if eps is None else eps

    def each(self, x: Tensor, eps: Any = None) -> Tensor | None:
        """(B,) radius of each image: `eps` (a number or one for each), the threat's own, or None without any."""
        value = self.eps if eps is None else eps
        if value is None:
            return None
        return ops.zeros_like(x[:, 0, 0, 0]) + ops.convert_to_tensor(value, "float32")

    # -- what a norm defines -------------------------------------------------------------------
    def norm(self, delta: Tensor) -> Tensor:
        """(B,) norms of the perturbations."""
        raise NotImplementedError

    def dual(self, g: Tensor) -> Tensor:
        """(B,) dual norms: max <v, g> over norm(v) <= 1 (and |v_i| <= 1 for l0)."""
        raise NotImplementedError

    def steepest(self, g: Tensor) -> Tensor:
        """The v of norm at most 1 with the largest <v, g>; 0 where g is 0."""
        raise NotImplementedError

    def shrink(self, delta: Tensor, eps: Tensor | None = None) -> Tensor:
        """The point of the ball nearest to delta. eps: (B,) or a number; None is the threat's own."""
        raise NotImplementedError

    def sample(self, origin: Tensor, seeds: Tensor, eps: Tensor | None = None) -> Tensor:
        """A random image of ball and box around `origin`; seeds (B,) uint32, one for each image."""
        raise NotImplementedError

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        """argmin_u weight * norm(u) + |u - v|_2^2 / 2, with one weight (B,) for each image."""
        raise NotImplementedError

    def metric_prox(self, v: Tensor, weight: Tensor, metric: Tensor) -> Tensor | None:
        """argmin_u weight * norm(u) + <u - v, metric (u - v)> / 2, metric > 0 shaped as v; None: no closed form."""
        del v, weight, metric
        return None

    def to_plane(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        """The point of {z in [0,1]^D: <w, z> = b} nearest to x in this norm, exact.

        Where the plane misses the box, the corner of the box nearest to the plane. b has shape (B,).
        """
        raise NotImplementedError

    # -- shared --------------------------------------------------------------------------------
    def ascent(self, g: Tensor, x: Tensor) -> Tensor:
        """The direction of a gradient step at x (norm 1). `steepest`, unless that is too greedy."""
        del x
        return self.steepest(g)

    def project(self, x: Tensor, origin: Tensor, eps: Tensor | None = None) -> Tensor:
        """Into the ball around `origin` (when there is an eps), then into the box.

        The box step moves every coordinate towards the origin, so the ball is not left again.
        """
        free = self.eps is None and eps is None
        inside = x if free else origin + self.shrink(x - origin, eps)
        return ops.clip(inside, 0.0, 1.0)


def beside(radius: Tensor, like: Tensor) -> Tensor:
    """A radius, a number or (B,), shaped to be used with `like` (B, ...)."""
    return radius if isinstance(radius, (int, float)) else rows(radius, like)


def flat(x: Tensor) -> Tensor:
    """(B, ...) -> (B, D)."""
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))


def rows(v: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to be multiplied with `like`."""
    return ops.reshape(v, (-1,) + (1,) * (len(like.shape) - 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(B,) inner products of rows (B, D)."""
    return ops.sum(a * b, axis=1)


def l2_norm(x: Tensor) -> Tensor:
    """(B,) Euclidean norms; gradient 0, not NaN, at 0."""
    square = ops.sum(ops.square(flat(x)), axis=1)
    positive = square > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)


def take_top(score: Tensor, count: Tensor) -> Tensor:
    """(B, D) 1.0 at the `count` (a number, or (B,)) largest scores of each row (ties: the earlier index), else 0.0."""
    order = ops.argsort(-score, axis=1)
    rank = ops.argsort(order, axis=1)
    return ops.cast(rank < beside(count, rank), "float32")


def only(threat: Threat, *names: str) -> None:
    """Raises InvalidInput unless the threat is one of these norms."""
    if threat.name not in names:
        raise fail("threat", " or ".join(f"{name}()" for name in names), threat)


class Room(NamedTuple):
    """For `to_plane`, (B, D): signed direction, gain |w| and free way of each coordinate; the need (B,)."""

    direction: Tensor
    gain: Tensor
    free: Tensor
    need: Tensor


def room(x: Tensor, w: Tensor, b: Tensor) -> Room:
    """What each coordinate can add on the way to the plane; w and b scaled so that max |w| = 1."""
    x, w = flat(x), flat(w)
    size = ops.maximum(ops.max(ops.abs(w), axis=1), 1e-35)
    w, b = w / size[:, None], b / size
    need = b - ops.sum(w * x, axis=1)
    direction = ops.sign(w) * ops.sign(need)[:, None]
    free = ops.where(direction > 0, 1.0 - x, x) * ops.abs(direction)
    return Room(direction, ops.abs(w), free, ops.abs(need))


def fill_evenly(gain: Tensor, speed: Tensor, free: Tensor, need: Tensor) -> Tensor:
    """(B, D) moves min(t speed_i, free_i) with the smallest t such that sum gain_i move_i = need.

    speed = 1 gives the least l-infinity move, speed = gain the least l2 move. The total is concave and piecewise
    linear in t, so Newton's method from t = 0 climbs to the root: exact after finitely many rounds, without a sort.
    """
    full, slope = gain * free, gain * speed

    def unsettled(count: Tensor, t: Tensor, before: Tensor) -> Tensor:
        return ops.logical_and(count < 50, ops.any(t > before))

    def newton(count: Tensor, t: Tensor, before: Tensor) -> tuple[Tensor, ...]:
        moving = t[:, None] * speed < free
        rate = ops.sum(ops.where(moving, slope, 0.0), axis=1)
        left = need - ops.sum(ops.where(moving, 0.0, full), axis=1)
        return count + 1, ops.maximum(ops.where(rate > 0, left / ops.maximum(rate, TINY), t), t), t

    first = ops.zeros_like(need)
    _, t, _ = ops.while_loop(unsettled, newton, (ops.zeros((), "int32"), first, first - 1.0))
    reachable = ops.sum(full, axis=1) >= need
    return ops.where(reachable[:, None], ops.minimum(t[:, None] * speed, free), free)


def fill_greedily(gain: Tensor, order_by: Tensor, free: Tensor, need: Tensor) -> Tensor:
    """(B, D) moves that use up one coordinate after the other, largest `order_by` first (ties: the earlier index).

    Bisects the level of `order_by` down to which coordinates are used up, to 2^-23 of the largest, without a sort.
    """
    full = gain * free

    def unsettled(count: Tensor, low: Tensor, high: Tensor) -> Tensor:
        middle = (low + high) / 2.0
        return ops.logical_and(count < 24, ops.any(ops.logical_and(low < middle, middle < high)))

    def halve(count: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
        middle = (low + high) / 2.0
        enough = ops.sum(ops.where(order_by >= middle[:, None], full, 0.0), axis=1) >= need
        return count + 1, ops.where(enough, middle, low), ops.where(enough, high, middle)

    first = ops.zeros_like(need)
    highest = 2.0 * ops.max(order_by, axis=1) + TINY
    _, low, high = ops.while_loop(unsettled, halve, (ops.zeros((), "int32"), first, highest))
    above = order_by >= high[:, None]
    level = ops.where(ops.logical_or(above, order_by < low[:, None]), 0.0, full)
    before = ops.sum(ops.where(above, full, 0.0), axis=1, keepdims=True) + ops.cumsum(level, axis=1) - level
    share = ops.clip((need[:, None] - before) / ops.maximum(level, TINY), 0.0, 1.0)
    return ops.where(above, 1.0, ops.where(level > 0, share, 0.0)) * free
