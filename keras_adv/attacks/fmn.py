"""Fast minimum norm."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, flatten, never
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import NOTHING, MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.registry import option, register
from keras_adv.threats import L0, L2, Linf, Threat


@register("attack", "fmn")
class FMN(MinimalAttack):
    """Gradient steps in a ball that shrinks on a mistake and grows otherwise (Pintor et al., Algorithm 1).

    r <- P(r + a g/|g|_2), g the gradient of the margin, P the projection on the ball of radius n and the box.
    Where x + r is adversarial n <- n (1 - gamma), at most the least norm so far; else n <- n (1 + gamma), and
    before anything is found at least the distance to the boundary of the linearised margin (the text takes
    this distance alone, by which n may shrink again and nothing be found). l0 counts: n starts at 1 and
    changes by at least 1. a and gamma fall by a cosine.

    Args:
        threat: any norm; its eps, if any, is where the robust accuracy is reported.
        steps: gradient steps (100 to 1000 in the paper).
        step_size: l2 length a of the first step; None is 10 for linf, 1 for the others. At last 1% of it.
        gamma: share by which n changes in the first step.
        final_gamma: that of the last step.

    Cost: steps forward-backward passes.

    >>> FMN(threat="l1()", steps=200)
    fmn(threat=l1(), steps=200)
    """

    reference = "arXiv:2102.12827"
    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=100, low=1)
    step_size: float | None = option(default=None, above=0.0)
    gamma: float = option(default=0.05, above=0.0, high=1.0)
    final_gamma: float = option(default=0.001, above=0.0, high=1.0)

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        x = task.x
        best = self.no_best_yet(task)
        most = self.threat.norm(ops.maximum(x, 1.0 - x))
        spare = noise.normal(task.seeds, tuple(x.shape[1:]))
        return {
            **best,
            "x": x,
            "radius": ops.ones_like(most) if self._counts else ops.zeros_like(most),
            "most": most,
            "spare": spare,
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now = task.x, state["x"]

        def beyond(images: Tensor) -> tuple[Tensor, Tensor]:
            logits = task.logits(images)
            return task.margin(logits), logits

        margin, logits, g = value_and_grad(beyond, now)
        hit = task.fooled(logits)
        seen = self.update_best(task, state, now, hit)
        share = self._share(state["k"])
        radius = self._moved(state["radius"], share, hit)
        if not self._counts:
            far = self.threat.norm(now - x) + ops.abs(margin) / ops.maximum(self.threat.dual(g), TINY)
            nothing = seen["best_norm"] >= NOTHING
            radius = ops.where(nothing, ops.maximum(radius, far), radius)
        radius = ops.minimum(radius, ops.where(hit, seen["best_norm"], state["most"]))
        flat = ops.max(ops.abs(flatten(g)), axis=1) == 0.0
        direction = L2().steepest(where_rows(flat, state["spare"], g))
        length = self._first_step * (0.01 + 0.99 * share)
        new = self.threat.project(now + expand_like(length, x) * direction, x, radius)
        return {**state, **seen, "x": new, "radius": radius}, never(hit)

    @property
    def _counts(self) -> bool:
        return isinstance(self.threat, L0)

    @property
    def _first_step(self) -> float:
        return self.step_size or (10.0 if isinstance(self.threat, Linf) else 1.0)

    def _share(self, k: Tensor) -> Tensor:
        """(B,) a cosine from 1 to 0 over the run."""
        return (1.0 + ops.cos(math.pi * ops.cast(k, "float32") / self.steps)) / 2.0

    def _moved(self, radius: Tensor, share: Tensor, hit: Tensor) -> Tensor:
        """The radius made smaller where there is a `hit`, else larger."""
        gamma = self.final_gamma + (self.gamma - self.final_gamma) * share
        less, more = radius * (1.0 - gamma), radius * (1.0 + gamma)
        if self._counts:
            less = ops.maximum(ops.minimum(radius - 1.0, ops.floor(less)), 0.0)
            more = ops.maximum(radius + 1.0, ops.floor(more))
        return ops.where(hit, less, more)
