"""The search for the smallest weight of a penalty that works, each image by itself."""

from __future__ import annotations

from dataclasses import dataclass

from keras import ops

from keras_adv.arrays import Tensor, expand_like, never, zeros_per_image
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.registry import option
from keras_adv.threats import Threat

LARGEST = 1e10
"""Largest weight; "high" at this value means that no weight has worked yet."""


def first_weight(task: Task, c: float) -> State:
    """The entries of a search before its first weight: "c" (B,), and the bracket "low" and "high" around the
    answer."""
    zero = zeros_per_image(task.x)
    return {"c": zero + c, "low": zero, "high": zero + LARGEST}


def next_weight(state: State, ended: Tensor, worked: Tensor) -> State:
    """The entries of `first_weight` where the descent for the weight c has `ended` (B,): c times 10 until one
    has `worked` (B,), then the middle of the bracket."""
    c, failed = state["c"], ops.logical_not(worked)
    low = ops.where(ops.logical_and(ended, failed), c, state["low"])
    high = ops.where(ops.logical_and(ended, worked), c, state["high"])
    other = ops.where(high >= LARGEST, ops.minimum(10.0 * c, LARGEST), (low + high) / 2)
    return {"c": ops.where(ended, other, c), "low": low, "high": high}


@dataclass(frozen=True, repr=False)
class PenaltySearch(MinimalAttack):
    """min size(r) + c max(kappa - margin(x + r), 0) for the smallest c that works; a subclass descends.

    An image has a search and a step count of its own: one that stalls goes on to its next c while others
    descend.
    """

    targetable = True
    threat: Threat
    searches: int = option(default=9, low=1)
    steps: int = option(default=1000, low=1)
    lr: float = option(default=0.01, above=0.0)
    initial: float = option(default=1e-3, above=0.0)
    confidence: float = option(default=0.0, low=0.0)
    abort_early: bool = option(default=True)

    @property
    def weights(self) -> int:
        """Values of c that an image is tried with at most."""
        return self.searches

    @property
    def first(self) -> float:
        """The first c."""
        return self.initial

    @property
    def rounds(self) -> int:
        return self.weights * self.steps

    def origin(self, task: Task) -> State:
        """The entries of the state that `descend` changes, where each search starts."""
        raise NotImplementedError

    def image(self, task: Task, state: State) -> Tensor:
        """(B, H, W, C) at which the model is evaluated."""
        raise NotImplementedError

    def size(self, r: Tensor) -> Tensor:
        """(B,) what is minimised besides the hinge."""
        raise NotImplementedError

    def descend(self, task: Task, state: State, image: Tensor, g: Tensor) -> State:
        """The next entries; g is the gradient of c times the hinge at `image`, state["t"] the step of the
        search."""
        raise NotImplementedError

    def start(self, task: Task) -> State:
        endless = zeros_per_image(task.x) + 1e30
        return {
            **self.no_best_yet(task),
            **self.origin(task),
            **first_weight(task, self.first),
            "hit": never(task.y),  # whether this c has worked
            "t": ops.zeros_like(task.y),  # steps for this c
            "search": ops.zeros_like(task.y),
            "least": endless,
            "before": endless,
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        image = self.image(task, state)
        hinge, m, g = value_and_grad(lambda v: self._hinge(task, v), image)
        hit = m > self.confidence
        best = self.update_best(task, state, image, hit)
        loss = self.size(image - task.x) + state["c"] * hinge
        seen = {"hit": ops.logical_or(state["hit"], hit), "least": ops.minimum(state["least"], loss)}
        moved = self.descend(task, state, image, expand_like(state["c"], g) * g)
        new = self._go_on(task, {**state, **best, **seen}, moved)
        return new, new["search"] >= self.weights

    def _hinge(self, task: Task, v: Tensor) -> tuple[Tensor, Tensor]:
        m = task.margin(task.logits(v))
        return ops.relu(self.confidence - m), m

    def _go_on(self, task: Task, state: State, moved: State) -> State:
        """The state with `moved`, or, where the descent for this c has ended, at the origin with the next
        c."""
        t, hit, before = state["t"], state["hit"], state["before"]
        ended = t + 1 >= self.steps
        if self.abort_early:
            check = t % -(-self.steps // 10) == 0
            gained = ops.logical_or(hit, state["least"] <= 0.9999 * before)  # neither where the loss is NaN
            ended = ops.logical_or(ended, ops.logical_and(check, ops.logical_not(gained)))
            before = ops.where(check, state["least"], before)
        origin = self.origin(task)
        return {
            **state,
            **{n: where_rows(ended, origin[n], v) for n, v in moved.items()},
            **next_weight(state, ended, hit),
            "hit": ops.logical_and(hit, ops.logical_not(ended)),
            "t": ops.where(ended, 0, t + 1),
            "search": state["search"] + ops.cast(ended, "int32"),
            "least": ops.where(ended, 1e30, state["least"]),
            "before": ops.where(ended, 1e30, before),
        }
