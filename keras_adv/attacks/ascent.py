"""Attacks that ascend an objective by its gradient: FGSM, BIM, PGD, MIM, DAA and APGD."""

from __future__ import annotations

import math
from dataclasses import dataclass

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like
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
        return {**state, **new}, task.fooled(logits)


@dataclass(frozen=True, repr=False)
class IteratedAscent(ProjectedAscent):
    """Runs of `steps` steps, each `step_size` eps long; None is 2.5 / steps (Madry et al., arXiv:1706.06083,
    app. D)."""

    steps: int = option(default=10, low=1)
    step_size: float | None = option(default=0.2, above=0.0)

    @property
    def run_length(self) -> int:
        return self.steps

    @property
    def step_length(self) -> float:
        return 2.5 / self.steps if self.step_size is None else self.step_size

    def continued(self) -> Attack:
        """A third of the steps, three times as long."""
        steps = math.ceil(self.steps / 3)
        return self.replace(steps=steps, step_size=self.step_length * self.steps / steps)
