"""How APGD moves and adapts: with momentum (linf, l2), or sparsely (l1). One row of the batch is one run at its own k."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from keras import ops

from keras_adv.attacks.base import State
from keras_adv.attacks.task import Task
from keras_adv.backend import select
from keras_adv.threats.base import Tensor, beside, flat


@functools.lru_cache
def stretches(steps: int) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """(length of the stretch that ends at k, does one end at k), k = 0..steps (arXiv:2003.01690, sec. 3.2)."""
    length, shortest, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    ends, at = {}, length
    while at <= steps:
        ends[at] = length
        length = max(length - less, shortest)
        at += length
    return tuple(float(ends.get(k, 1)) for k in range(steps + 1)), tuple(k in ends for k in range(steps + 1))


def at(values: Any, k: Tensor, dtype: str) -> Tensor:
    """values[k], each image at its own k."""
    return ops.take(ops.convert_to_tensor(np.array(values, dtype)), k)


class Momentum:
    """Step halved at the end of a stretch without progress."""

    @staticmethod
    def origin(attack: Any, task: Task, seeds: Tensor) -> Tensor:
        """Where a run starts."""
        return attack.threat.sample(task.x, seeds, task.eps)

    @staticmethod
    def memory(task: Task) -> State:
        """What a walk remembers."""
        zero = ops.zeros_like(task.x[:, 0, 0, 0])
        return {"size": zero, "risen": zero, "mark": zero, "halved": zero, "before": task.x}

    @staticmethod
    def anew(attack: Any, k: Tensor) -> Tensor:
        """Does a stage start at k, that forgets the best point?"""
        return k < 0

    @staticmethod
    def last_stage(attack: Any, k: Tensor) -> Tensor:
        """Is a mistake at k inside the ball?"""
        return k >= 0

    @staticmethod
    def step(attack: Any, task: Task, s: State) -> State:
        """The next point and memory."""
        lengths, ends = stretches(attack.steps)
        first, end = s["first"], at(ends, s["k"], "bool")
        risen = ops.where(first, 0.0, s["risen"]) + ops.cast(s["rose"], "float32")
        size = ops.where(first, 2.0 * task.eps, s["size"])
        mark = ops.where(first, s["best_f"], s["mark"])
        halved = ops.where(first, 1.0, s["halved"])
        stuck = risen <= attack.rho * at(lengths, s["k"], "float32")
        level = ops.logical_and(halved == 0, mark >= s["best_f"])
        back = ops.logical_and(end, ops.logical_or(stuck, level))
        size = ops.where(back, size / 2, size)
        x = select(back, s["best"], s["x"])
        g = select(back, s["best_g"], s["g"])
        threat = attack.threat
        straight = threat.project(x + beside(size, x) * threat.ascent(g, x), task.x, task.eps)
        curved = x + 0.75 * (straight - x) + 0.25 * (x - s["before"])
        curved = threat.project(curved, task.x, task.eps)
        return {
            "x": select(first, straight, curved),
            "before": x,
            "size": size,
            "risen": ops.where(end, 0.0, risen),
            "mark": ops.where(end, s["best_f"], mark),
            "halved": ops.where(end, ops.cast(back, "float32"), halved),
        }


@functools.lru_cache
def stages(steps: int) -> tuple[tuple[float, ...], tuple[bool, ...], tuple[bool, ...]]:
    """(radius in eps at k, does a stage start at k, is the sparsity looked at at k), k = 0..steps."""
    lengths = [int(0.3 * steps), int(0.3 * steps)]
    lengths.append(steps + 1 - sum(lengths))
    radius: list[float] = []
    starts: list[bool] = []
    looks: list[bool] = []
    for scale, length in zip((3.0, 2.0, 1.0), lengths, strict=True):
        period = max(int(0.04 * length), 1)
        radius += [scale] * length
        starts += [j == 0 for j in range(length)]
        looks += [j > 0 and j % period == 0 for j in range(length)]
    return tuple(radius), tuple(starts), tuple(looks)


class Sparse:
    """Steps along the largest gradient entries; their share follows the sparsity of the best point."""

    @staticmethod
    def origin(attack: Any, task: Task, seeds: Tensor) -> Tensor:
        return attack.threat.sample(task.x, seeds, stages(attack.steps)[0][0] * task.eps)

    @staticmethod
    def memory(task: Task) -> State:
        zero = ops.zeros_like(task.x[:, 0, 0, 0])
        return {"size": zero, "share": zero, "count": zero}

    @staticmethod
    def anew(attack: Any, k: Tensor) -> Tensor:
        return at(stages(attack.steps)[1], k, "bool")

    @staticmethod
    def last_stage(attack: Any, k: Tensor) -> Tensor:
        return at(stages(attack.steps)[0], k, "float32") == 1.0

    @staticmethod
    def step(attack: Any, task: Task, s: State) -> State:
        radius, starts, looks = stages(attack.steps)
        values = math.prod(task.x.shape[1:])
        eps, first = at(radius, s["k"], "float32") * task.eps, s["first"]
        count = ops.sum(ops.cast(ops.abs(flat(s["best"] - task.x)) > 1e-8, "float32"), axis=1)
        look = ops.logical_and(at(looks, s["k"], "bool"), ops.logical_not(first))
        thinner = ops.logical_and(look, count < 0.95 * s["count"])
        slower = ops.where(look, s["size"] / 1.5, s["size"])
        size = ops.where(ops.logical_or(first, thinner), eps, ops.maximum(slower, eps / 10.0))
        renew = ops.logical_or(first, look)
        # a run's very first point is dense noise: the share of a first step is a fifth of the values
        share = ops.where(renew, count / (1.5 * values), s["share"])
        share = ops.where(s["k"] == 0, 0.2, share)
        x = select(thinner, s["best"], s["x"])
        g = select(thinner, s["best_g"], s["g"])
        move = sparse_sign(g, share)
        new = attack.threat.project(x + beside(size, x) * move, task.x, eps)
        # the next stage starts from this one's best point
        ends = at([*starts[1:], False], s["k"], "bool")
        smaller = at([*radius[1:], radius[-1]], s["k"], "float32") * task.eps
        onward = attack.threat.project(s["best"], task.x, smaller)
        return {
            "x": select(ends, onward, new),
            "size": size,
            "share": share,
            "count": ops.where(renew, count, s["count"]),
        }


def sparse_sign(g: Tensor, share: Tensor) -> Tensor:
    """sign(g) on about the `share` (B,) largest |g| of each image, 0 elsewhere, divided by its l1 norm."""
    size = ops.abs(flat(g))
    wanted = ops.maximum(share * size.shape[1], 1.0)
    low, high = ops.zeros_like(share), ops.max(size, axis=1)

    def halve(_: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
        middle = (low + high) / 2
        many = ops.sum(ops.cast(size >= middle[:, None], "float32"), axis=1) >= wanted
        return _ + 1, ops.where(many, middle, low), ops.where(many, high, middle)

    # 16 halvings place the threshold to 1e-5 of the largest entry: the share need not be exact
    first = (ops.zeros((), "int32"), low, high)
    _, low, _ = ops.while_loop(lambda n, a, b: n < 16, halve, first)
    chosen = ops.sign(flat(g)) * ops.cast(size >= low[:, None], "float32")
    length = ops.maximum(ops.sum(ops.abs(chosen), axis=1, keepdims=True), 1.0)
    return ops.reshape(chosen / length, ops.shape(g))


WALKS: dict[str, Any] = {"linf": Momentum, "l2": Momentum, "l1": Sparse}
