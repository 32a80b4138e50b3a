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
    """Rounds after which the prox in a diagonal metric has settled (PDPGD)."""

    def radius(self) -> float:
        """eps, for those who need one. Raises InvalidInput when it is None."""
        if self.eps is None:
            raise fail("eps", f"given, for example {self.name}(eps=0.1)", None)
        return self.eps

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

    def shrink(self, delta: Tensor) -> Tensor:
        """The point of the ball of radius eps nearest to delta."""
        raise NotImplementedError

    def sample(self, origin: Tensor, seeds: Tensor) -> Tensor:
        """A random image of ball and box around `origin`; seeds (B,) uint32, one for each image."""
        raise NotImplementedError

    def prox(self, v: Tensor, weight: Tensor) -> Tensor:
        """argmin_u weight * norm(u) + |u - v|_2^2 / 2, with one weight (B,) for each image."""
        raise NotImplementedError

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

    def project(self, x: Tensor, origin: Tensor) -> Tensor:
        """Into the ball around `origin` (when there is an eps), then into the box.

        The box step moves every coordinate towards the origin, so the ball is not left again.
        """
        inside = x if self.eps is None else origin + self.shrink(x - origin)
        return ops.clip(inside, 0.0, 1.0)


def flat(x: Tensor) -> Tensor:
    """(B, ...) -> (B, D)."""
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))


def rows(v: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to be multiplied with `like`."""
    return ops.reshape(v, (-1,) + (1,) * (len(like.shape) - 1))


def l2_norm(x: Tensor) -> Tensor:
    """(B,) Euclidean norms; gradient 0, not NaN, at 0."""
    square = ops.sum(ops.square(flat(x)), axis=1)
    positive = square > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)


def take_top(score: Tensor, count: int) -> Tensor:
    """(B, D) 1.0 at the `count` largest scores of each row (ties: the earlier index), else 0.0."""
    order = ops.argsort(-score, axis=1)
    rank = ops.argsort(order, axis=1)
    return ops.cast(rank < count, "float32")


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

    speed = 1 gives the least l-infinity move, speed = gain the least l2 move. Exact: the total is piecewise
    linear in t with its kinks at free_i / speed_i.
    """
    kink = ops.where(speed > 0, free / ops.maximum(speed, TINY), 0.0)
    order = ops.argsort(kink, axis=1)
    full, slope, kinks = (ops.take_along_axis(v, order, axis=1) for v in (gain * free, gain * speed, kink))
    saturated = ops.cumsum(full, axis=1) - full  # by the coordinates before this kink
    moving = ops.flip(ops.cumsum(ops.flip(slope, axis=1), axis=1), axis=1)
    reached = ops.cast(saturated + moving * kinks >= need[:, None], "float32")
    first = ops.expand_dims(ops.argmax(reached, axis=1), 1)
    before, rate = (ops.take_along_axis(v, first, axis=1) for v in (saturated, moving))
    t = (need[:, None] - before) / ops.maximum(rate, TINY)
    hit = ops.max(reached, axis=1, keepdims=True) > 0
    return ops.where(hit, ops.minimum(ops.maximum(t, 0.0) * speed, free), free)


def fill_greedily(gain: Tensor, order_by: Tensor, free: Tensor, need: Tensor) -> Tensor:
    """(B, D) moves that use up one coordinate after the other, largest `order_by` first."""
    order = ops.argsort(-order_by, axis=1)
    full = ops.take_along_axis(gain * free, order, axis=1)
    before = ops.cumsum(full, axis=1) - full
    share = ops.clip((need[:, None] - before) / ops.maximum(full, TINY), 0.0, 1.0)
    back = ops.argsort(order, axis=1)
    return ops.take_along_axis(share, back, axis=1) * free
