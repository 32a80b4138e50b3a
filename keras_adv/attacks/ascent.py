"""Attacks that ascend an objective by its gradient: FGSM, BIM, PGD, MIM, DAA and APGD."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like, never, zeros_per_image
from keras_adv.attacks.base import Attack, Passes, State
from keras_adv.attacks.contracts import BoundedAttack
from keras_adv.attacks.objectives import CrossEntropy, Objective
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option
from keras_adv.threats import Linf, Threat
from keras_adv.validate import invalid


@dataclass(frozen=True, repr=False)
class ObjectiveAscent(BoundedAttack):
    """A bounded attack that ascends an objective, its option `loss`.

    A subclass with the option `eot` takes gradients that are means over so many draws of a random net.
    """

    targetable = True
    threat: Threat = option(default=Linf(eps=0.1))
    loss: Objective = option(default=CrossEntropy())

    @property
    def draws(self) -> int:
        """Draws of a random net that a gradient is the mean of: the option `eot`, or 1."""
        return getattr(self, "eot", 1)

    @property
    def min_classes(self) -> int:
        return self.loss.min_classes

    @property
    def passes_per_round(self) -> Passes:
        return {"gradient": self.draws}

    @property
    def passes_at_start(self) -> Passes:
        return {"forward": int(self.loss.compares)}

    def reference_state(self, task: Task) -> State:
        """The entry of the state that the objective compares with, if it does.

        Raises:
            InvalidInput: there are targets, and the objective has no form for them.
        """
        if task.target is not None and not self.loss.targetable:
            raise invalid("loss", "one with a targeted form when there are targets", self.loss)
        return {"reference": ops.stop_gradient(self.loss.clean_reference(task))} if self.loss.compares else {}

    def objective_and_gradient(self, task: Task, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """(objective (B,), logits, gradient) at state["x"]; means over the draws of a random net."""
        sums: list[Tensor] = []
        for n in range(self.draws):
            draw = ops.sum(state["k"]) * self.draws + n  # another in every round of the batch

            def objective(images: Tensor, draw: Tensor = draw) -> tuple[Tensor, Tensor]:
                logits = task.logits(images, draw)
                return self.loss.value(task, images, logits, state.get("reference")), logits

            parts = value_and_grad(objective, state["x"])
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
        return tuple(part / self.draws for part in sums) if self.draws > 1 else tuple(sums)


class ProjectedAscent(ObjectiveAscent):
    """x <- P(x + step eps ascent(direction)), P the projection on ball and box.

    By default one step of length eps from x. A subclass overrides the number and length of the steps, the
    start, or the direction.
    """

    leaves_box = True

    @property
    def run_length(self) -> int:
        """Steps of one run."""
        return 1

    @property
    def step_length(self) -> float:
        """Length of one step in units of eps."""
        return 1.0

    @property
    def rounds(self) -> int:
        return self.run_length

    def first_point(self, task: Task, seeds: Tensor) -> Tensor:
        """Where a run starts: at x, or at random by `seeds`."""
        del seeds
        return task.x

    def memory(self, task: Task) -> State:
        """What `direction` remembers of a run, at its start."""
        del task
        return {}

    def direction(self, task: Task, state: State, g: Tensor) -> tuple[Tensor, State]:
        """(what to follow in place of the gradient g, the new memory)."""
        del task, state
        return g, {}

    def start(self, task: Task) -> State:
        state = {**self._first(task, task.seeds), **self.reference_state(task)}
        if task.examples.first is not None:
            state["x"] = self.threat.project(task.examples.first, task.x, task.eps)
        return state

    def _first(self, task: Task, seeds: Tensor) -> State:
        return {"x": self.first_point(task, seeds), **self.memory(task)}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now = state["x"]
        _, logits, g = self.objective_and_gradient(task, state)
        g, memory = self.direction(task, state, g)
        move = expand_like(self.step_length * task.eps, now) * self.threat.ascent(g, now)
        new = {"x": self.threat.project(now + move, task.x, task.eps), **memory}
        if self.rounds > self.run_length:  # several runs: each ends with a round that looks at its last image
            ended = (state["k"] + 1) % (self.run_length + 1) == 0
            seeds = noise.fold(task.seeds, state["k"])
            new = update_rows(ended, lambda: self._first(task, seeds), new)
        memory, hopeless = self.hopeless(task, state, logits)
        return {**state, **new, **memory}, ops.logical_or(task.fooled(logits), hopeless)

    def hopeless(self, task: Task, state: State, logits: Tensor) -> tuple[State, Tensor]:
        """(what it remembers of state["x"], which has these logits (B, K); (B,) whether the image is left as
        it is)."""
        del task, state
        return {}, never(logits[:, 0])


PATIENCE = 2.0
"""Of an attack that goes on from another ball."""
LOOK_BACK = 3
"""Steps over which an image's margin is seen to rise, before it is left as hopeless."""


@dataclass(frozen=True, repr=False)
class IteratedAscent(ProjectedAscent):
    """Runs of `steps` steps, each `step_size` eps long; None is 2.5 / steps (Madry et al., arXiv:1706.06083,
    app. D). An image is left where its best margin would have to rise over `patience` times as fast as in the
    last three steps, to be a mistake after the last one."""

    steps: int = option(default=10, low=1)
    step_size: float | None = option(default=0.2, above=0.0)
    patience: float | None = option(default=None, low=0.0)

    @property
    def gives_up(self) -> bool:  # type: ignore[override]
        return self.patience is not None

    @property
    def run_length(self) -> int:
        return self.steps

    @property
    def step_length(self) -> float:
        return 2.5 / self.steps if self.step_size is None else self.step_size

    def continued(self) -> Attack:
        """Half of the steps, three times as long; most images that stand are left before."""
        steps, patience = math.ceil(self.steps / 2), PATIENCE if self.patience is None else self.patience
        return self.replace(steps=steps, step_size=3.0 * self.step_length, patience=patience)

    def start(self, task: Task) -> State:
        state = super().start(task)
        if self.patience is not None:
            nothing = np.full(LOOK_BACK + 1, -1e30, "float32")
            state["best_margins"] = zeros_per_image(task.x)[:, None] + nothing
        return state

    def hopeless(self, task: Task, state: State, logits: Tensor) -> tuple[State, Tensor]:
        if self.patience is None:
            return super().hopeless(task, state, logits)
        now, seen = task.margin(logits), state["best_margins"]
        best = ops.concatenate([seen[:, 1:], ops.maximum(now, seen[:, -1])[:, None]], axis=1)
        pace = (best[:, -1] - best[:, 0]) / LOOK_BACK
        reach = best[:, -1] + self.patience * pace * ops.cast(self.steps - state["k"], "float32")
        hopeless = ops.logical_and(state["k"] >= LOOK_BACK, reach < 0.0)
        return {"best_margins": best}, hopeless
