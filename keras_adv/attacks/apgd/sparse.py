"""The walk of APGD in l1 (arXiv:2103.01208, Algorithm 1)."""

from __future__ import annotations

import functools
import math
from typing import Any

from keras import ops

from keras_adv.arrays import Tensor, expand_like, flatten, zeros_per_image
from keras_adv.attacks.apgd.schedule import at_step
from keras_adv.attacks.base import State
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows


@functools.lru_cache
def stages(steps: int) -> tuple[tuple[float, ...], tuple[bool, ...], tuple[bool, ...]]:
    """For each step 0..steps: the radius in eps, whether a stage starts there, and whether the sparsity is
    adapted there."""
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


class SparseSteps:
    """Steps along the largest gradient entries; their share follows the sparsity of the best point."""

    @staticmethod
    def first_point(attack: Any, task: Task, seeds: Tensor) -> Tensor:
        return attack.threat.sample(task.x, seeds, stages(attack.steps)[0][0] * task.eps)

    @staticmethod
    def memory(task: Task) -> State:
        zero = zeros_per_image(task.x)
        return {"size": zero, "share": zero, "count": zero}

    @staticmethod
    def starts_stage(attack: Any, k: Tensor) -> Tensor:
        return at_step(stages(attack.steps)[1], k, "bool")

    @staticmethod
    def in_last_stage(attack: Any, k: Tensor) -> Tensor:
        return at_step(stages(attack.steps)[0], k, "float32") == 1.0

    @staticmethod
    def step(attack: Any, task: Task, s: State) -> State:
        radius, starts, looks = stages(attack.steps)
        values = math.prod(task.x.shape[1:])
        eps, first = at_step(radius, s["k"], "float32") * task.eps, s["first"]
        count = ops.sum(ops.cast(ops.abs(flatten(s["best"] - task.x)) > 1e-8, "float32"), axis=1)
        look = ops.logical_and(at_step(looks, s["k"], "bool"), ops.logical_not(first))
        thinner = ops.logical_and(look, count < 0.95 * s["count"])
        slower = ops.where(look, s["size"] / 1.5, s["size"])
        size = ops.where(ops.logical_or(first, thinner), eps, ops.maximum(slower, eps / 10.0))
        renew = ops.logical_or(first, look)
        # a run's very first point is dense noise: the share of a first step is a fifth of the values
        share = ops.where(renew, count / (1.5 * values), s["share"])
        share = ops.where(s["k"] == 0, 0.2, share)
        x = where_rows(thinner, s["best"], s["x"])
        g = where_rows(thinner, s["best_g"], s["g"])
        move = sparse_sign(g, share)
        new = attack.threat.project(x + expand_like(size, x) * move, task.x, eps)
        # the next stage starts from this one's best point
        ends = at_step([*starts[1:], False], s["k"], "bool")
        smaller = at_step([*radius[1:], radius[-1]], s["k"], "float32") * task.eps
        onward = attack.threat.project(s["best"], task.x, smaller)
        return {
            "x": where_rows(ends, onward, new),
            "size": size,
            "share": share,
            "count": ops.where(renew, count, s["count"]),
        }


def sparse_sign(g: Tensor, share: Tensor) -> Tensor:
    """sign(g) on about the `share` (B,) largest |g| of each image, 0 elsewhere, divided by its l1 norm."""
    size = ops.abs(flatten(g))
    wanted = ops.maximum(share * size.shape[1], 1.0)
    low, high = ops.zeros_like(share), ops.max(size, axis=1)

    def halve(n: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
        middle = (low + high) / 2
        many = ops.sum(ops.cast(size >= middle[:, None], "float32"), axis=1) >= wanted
        return n + 1, ops.where(many, middle, low), ops.where(many, high, middle)

    # 16 halvings place the threshold to 1e-5 of the largest entry: the share need not be exact
    first = (ops.zeros((), "int32"), low, high)
    low = ops.while_loop(lambda n, *bounds: n < 16, halve, first)[1]
    chosen = ops.sign(flatten(g)) * ops.cast(size >= low[:, None], "float32")
    length = ops.maximum(ops.sum(ops.abs(chosen), axis=1, keepdims=True), 1.0)
    return ops.reshape(chosen / length, ops.shape(g))
