"""What the two primal-dual attacks share: the margin, the duals in the log domain, Adam.

min_r norm(r) subject to a wrong decision, as a game: r descends lam1 norm(r) + lam2 surrogate(m), while
(lam1, lam2) on the simplex ascend the constraint sign(m); m = z_y - max_{i != y} z_i > 0 while the decision
still holds. The thesis prints the signs of 5.1, 5.3 and 5.7 the other way round; this is the form that
minimises, and that the author's code runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, never
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option
from keras_adv.threats import L2, Threat

FLOOR = math.log(1e-6)

THESIS: dict[str, Any] = {
    "steps": 500, "restarts": 1, "lr": 0.1, "ratio": 0.01, "surrogate": "hinge", "decay": "linear",
    "final": 0.01, "dual_final": 1.0,
}  # fmt: skip
"""The thesis' settings of both attacks; its lr is the best of 0.01 to 1."""


@dataclass(frozen=True, repr=False)
class PrimalDual(MinimalAttack):
    """The loop of PDGD and PDPGD; a subclass writes `descend`."""

    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=250, low=1)
    lr: float = option(default=1.0, above=0.0)
    final: float = option(default=0.001, above=0.0, high=1.0)
    dual_lr: float = option(default=0.1, above=0.0)
    dual_final: float = option(default=0.1, above=0.0, high=1.0)
    ratio: float = option(default=1.0, above=0.0)
    surrogate: str = option(default="softplus", choices=("softplus", "hinge"))
    restarts: int = option(default=2, low=1)
    spread: float = option(default=0.5, above=0.0, high=1.0)
    decay: str = option(default="exponential", choices=("exponential", "linear"))
    finetune: int = option(default=0, low=0)
    random_start: bool = option(default=False)

    @property
    def rounds(self) -> int:
        return self._refined_from + (self.finetune + 1 if self.finetune else 0)

    @property
    def _period(self) -> int:
        """Rounds of a run: one for each step, and one that judges the last iterate."""
        return self.steps + 1

    @property
    def _refined_from(self) -> int:
        """The round in which the fine-tuning begins."""
        return self.restarts * self._period

    def start(self, task: Task) -> State:
        fresh = self._drawn(task, ops.zeros_like(task.y)) if self.random_start else self._fresh(task.x)
        return {**self.no_best_yet(task), **fresh, "best_duals": fresh["duals"]}

    def _fresh(self, x: Tensor) -> State:
        one = ops.ones_like(x[:, 0, 0, 0])
        first = [math.log(self.ratio / (1 + self.ratio)), math.log(1 / (1 + self.ratio))]
        duals = ops.stack([one * first[0], one * first[1]], axis=1)
        zero = ops.zeros_like(x)
        return {"r": zero, "m": zero, "v": zero, "duals": duals, "mean": ops.exp(duals)}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now = task.x, state["r"]
        _, m, g = value_and_grad(lambda v: self._constraint(task, v), x + now)
        seen = self.update_best(task, state, x + now, m < 0)
        nearer = seen["best_norm"] < state["best_norm"]
        seen["best_duals"] = where_rows(nearer, state["duals"], state["best_duals"])
        k, lr, dual_lr = self._rates(state["k"])
        duals = self._raise(state["duals"], m, dual_lr)
        mean = 0.9 * state["mean"] + 0.1 * ops.exp(duals)
        new = {**self.descend(x, {**state, "k": k}, g, lr), "duals": duals, "mean": mean}
        return {**seen, **self._end_of_run(task, state["k"], seen, new)}, never(m)

    def _rates(self, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(step of the run, lr, lr of the duals); the fine-tuning is a last run at a tenth."""
        late = k >= self._refined_from
        own = ops.where(late, k - self._refined_from, k % self._period)
        length = ops.where(late, max(self.finetune, 1), self.steps)
        part = ops.cast(own, "float32") / ops.cast(length, "float32")
        lr = ops.where(late, self.lr * self.final * (1.0 - 0.9 * part), self.lr * self._left(part))
        return own, lr, ops.where(late, 0.1, 1.0) * self.dual_lr * (1.0 - (1.0 - self.dual_final) * part)

    def _end_of_run(self, task: Task, k: Tensor, seen: State, new: State) -> State:
        """At the end of a run: a random start, or the best point so far for the fine-tuning."""
        x = task.x

        def refined() -> State:
            r, duals = seen["best"] - x, seen["best_duals"]
            return {**self._fresh(x), "r": r, "duals": duals, "mean": ops.exp(duals)}

        if self.restarts > 1:
            again = ops.logical_and((k + 1) % self._period == 0, k + 1 < self._refined_from)
            new = update_rows(again, lambda: self._drawn(task, k), new)
        if self.finetune:
            new = update_rows(k + 1 == self._refined_from, refined, new)
        return new

    def _drawn(self, task: Task, k: Tensor) -> State:
        """A run from a random start."""
        drawn = noise.uniform(noise.fold(task.seeds, k), tuple(task.x.shape[1:]))
        start = ops.clip(task.x + self.spread * (2.0 * drawn - 1.0), 0.0, 1.0)
        return {**self._fresh(task.x), "r": start - task.x}

    def _left(self, part: Tensor) -> Tensor:
        """Share of the learning rate after `part` of a run."""
        if self.decay == "exponential":
            return ops.power(self.final, part)
        return 1.0 - (1.0 - self.final) * part

    def descend(self, x: Tensor, state: State, g: Tensor, lr: Tensor) -> State:
        """The next "r", "m", "v"; g is the gradient of the surrogate, state["mean"] the smoothed duals."""
        raise NotImplementedError

    def _constraint(self, task: Task, v: Tensor) -> tuple[Tensor, Tensor]:
        m = -task.margin(task.logits(v))
        return (ops.softplus(m) if self.surrogate == "softplus" else ops.relu(m)), m

    @staticmethod
    def _raise(duals: Tensor, m: Tensor, rate: Tensor) -> Tensor:
        """Weight of the constraint up where the decision still holds (sign(m) = 1), else down."""
        moved = ops.stack([duals[:, 0], duals[:, 1] + rate * ops.where(m > 0, 1.0, -1.0)], axis=1)
        return ops.maximum(ops.log_softmax(moved, axis=1), FLOOR)
