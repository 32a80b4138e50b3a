"""The walk of APGD in linf and l2 (arXiv:2003.01690, Algorithm 1)."""

from __future__ import annotations

import functools
from typing import Any

from keras import ops

from keras_adv.arrays import Tensor, expand_like, zeros_per_image
from keras_adv.attacks.apgd.schedule import at_step
from keras_adv.attacks.base import State
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows


@functools.lru_cache
def stretches(steps: int) -> tuple[tuple[float, ...], tuple[bool, ...]]:
    """For each step 0..steps: the length of the stretch that ends there, and whether one does
    (arXiv:2003.01690, sec. 3.2)."""
    length, shortest, less = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)
    ends, at = {}, length
    while at <= steps:
        ends[at] = length
        length = max(length - less, shortest)
        at += length
    return tuple(float(ends.get(k, 1)) for k in range(steps + 1)), tuple(k in ends for k in range(steps + 1))


class MomentumSteps:
    """Steps with momentum, halved at the end of a stretch without progress, and returns to the best point."""

    @staticmethod
    def first_point(attack: Any, task: Task, seeds: Tensor) -> Tensor:
        """(B, ...) where a run starts, by `seeds`."""
        return attack.threat.sample(task.x, seeds, task.eps)

    @staticmethod
    def memory(task: Task) -> State:
        """What `step` remembers, at the start of a run."""
        zero = zeros_per_image(task.x)
        return {"size": zero, "risen": zero, "mark": zero, "halved": zero, "before": task.x}

    @staticmethod
    def starts_stage(attack: Any, k: Tensor) -> Tensor:
        """(B,) whether a stage starts at k, which forgets the best point."""
        return k < 0

    @staticmethod
    def in_last_stage(attack: Any, k: Tensor) -> Tensor:
        """(B,) whether the image at k is inside the ball, so that a mistake counts."""
        return k >= 0

    @staticmethod
    def step(attack: Any, task: Task, s: State) -> State:
        """The next image "x" and what is remembered; s is APGD's state at step "k" of the run, with "first",
        "rose" and "g"."""
        lengths, ends = stretches(attack.steps)
        first, end = s["first"], at_step(ends, s["k"], "bool")
        risen = ops.where(first, 0.0, s["risen"]) + ops.cast(s["rose"], "float32")
        size = ops.where(first, 2.0 * task.eps, s["size"])
        mark = ops.where(first, s["best_f"], s["mark"])
        halved = ops.where(first, 1.0, s["halved"])
        stuck = risen <= attack.rho * at_step(lengths, s["k"], "float32")
        level = ops.logical_and(halved == 0, mark >= s["best_f"])
        stalled = ops.logical_and(end, ops.logical_or(stuck, level))
        size = ops.where(stalled, size / 2, size)
        x = where_rows(stalled, s["best"], s["x"])
        g = where_rows(stalled, s["best_g"], s["g"])
        threat = attack.threat
        straight = threat.project(x + expand_like(size, x) * threat.ascent(g, x), task.x, task.eps)
        curved = x + 0.75 * (straight - x) + 0.25 * (x - s["before"])
        curved = threat.project(curved, task.x, task.eps)
        return {
            "x": where_rows(first, straight, curved),
            "before": x,
            "size": size,
            "risen": ops.where(end, 0.0, risen),
            "mark": ops.where(end, s["best_f"], mark),
            "halved": ops.where(end, ops.cast(stalled, "float32"), halved),
        }
