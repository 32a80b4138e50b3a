"""Decoupled direction and norm."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, flatten, l2_norm, never
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.objectives import CrossEntropy
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm


@register("attack", "ddn")
class DDN(MinimalAttack):
    """Gradient steps on a sphere that shrinks on a mistake and grows otherwise (Rony et al., Algorithm 1).

    r <- r + a g/|g|_2, n <- n (1 - gamma) where x + r is adversarial, else n (1 + gamma); r <- n r/|r|_2,
    then the box. g is the gradient of the cross-entropy and a falls from 1 to 0.01 by a cosine.

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        steps: gradient steps (100 to 1000 in the paper).
        gamma: share by which the norm n changes in one step.
        init_norm: n at the start.
        levels: round to images of so many levels (256 in the paper); None does not.

    Cost: steps forward-backward passes.
    """

    reference = "arXiv:1811.09600"
    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=100, low=1)
    gamma: float = option(default=0.05, above=0.0, high=1.0)
    init_norm: float = option(default=1.0, above=0.0)
    levels: int | None = option(default=None, low=2)

    def check(self) -> None:
        require_norm(self.threat, "l2")

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        x = task.x
        drawn = noise.normal(task.seeds, tuple(x.shape[1:]))
        size = ops.full_like(x[:, 0, 0, 0], self.init_norm)
        kept = {"spare": self.threat.steepest(drawn), "most": l2_norm(ops.maximum(x, 1.0 - x))}
        return {**self.no_best_yet(task), **kept, "x": x, "size": size}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now = task.x, state["x"]

        def cross_entropy(images: Tensor) -> tuple[Tensor, Tensor]:
            logits = task.logits(images)
            return CrossEntropy().value(task, images, logits, None), logits

        _, logits, g = value_and_grad(cross_entropy, now)
        hit = task.fooled(logits)
        flatness = ops.max(ops.abs(flatten(g)), axis=1) == 0.0
        direction = where_rows(flatness, state["spare"], self.threat.steepest(g))
        r = now - x + expand_like(self._pace(state["k"]), x) * direction
        size = state["size"] * ops.where(hit, 1.0 - self.gamma, 1.0 + self.gamma)
        size = ops.minimum(size, state["most"])  # no image is further away
        new = ops.clip(x + expand_like(size / ops.maximum(l2_norm(r), TINY), r) * r, 0.0, 1.0)
        if self.levels is not None:
            new = ops.round(new * (self.levels - 1)) / (self.levels - 1)
        return {**state, **self.update_best(task, state, now, hit), "x": new, "size": size}, never(hit)

    def _pace(self, k: Tensor) -> Tensor:
        """Length a of the step: a cosine from 1 to 0.01."""
        part = ops.cast(k, "float32") / self.steps
        return 0.01 + 0.99 * (1.0 + ops.cos(math.pi * part)) / 2.0
