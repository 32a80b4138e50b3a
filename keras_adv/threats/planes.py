"""The way from an image to a hyperplane, inside the box of images: what `Threat.project_to_plane` of every
norm is made of."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from keras_adv.arrays import TINY, Tensor, flatten


class WayToPlane(NamedTuple):
    """For `project_to_plane`, (B, D): signed direction, gain |w| and free way of each coordinate; the need
    (B,)."""

    direction: Tensor
    gain: Tensor
    free: Tensor
    need: Tensor


def way_to_plane(x: Tensor, w: Tensor, b: Tensor) -> WayToPlane:
    """What each coordinate can add on the way to the plane; w and b scaled so that max |w| = 1."""
    x, w = flatten(x), flatten(w)
    size = ops.maximum(ops.max(ops.abs(w), axis=1), 1e-35)
    w, b = w / size[:, None], b / size
    need = b - ops.sum(w * x, axis=1)
    direction = ops.sign(w) * ops.sign(need)[:, None]
    free = ops.where(direction > 0, 1.0 - x, x) * ops.abs(direction)
    return WayToPlane(direction, ops.abs(w), free, ops.abs(need))


def fill_evenly(gain: Tensor, speed: Tensor, free: Tensor, need: Tensor) -> Tensor:
    """(B, D) moves min(t speed_i, free_i) with the smallest t such that sum gain_i move_i = need.

    speed = 1 gives the least l-infinity move, speed = gain the least l2 move. The total is concave and
    piecewise linear in t, so Newton's method from t = 0 climbs to the root: exact after finitely many rounds,
    without a sort.
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
    """(B, D) moves that use up one coordinate after the other, largest `order_by` first (ties: the earlier
    index).

    Bisects the level of `order_by` down to which coordinates are used up, to 2^-23 of the largest, without a
    sort.
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
