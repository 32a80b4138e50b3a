"""sigma-zero: few changed values, by gradients of a smooth count."""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from keras_adv.arrays import TINY, Tensor, expand_like, flatten, never
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad
from keras_adv.numerics.adam import adam_moments
from keras_adv.registry import option, register
from keras_adv.threats import L0, Threat
from keras_adv.threats.base import require_norm


@register("attack", "sigma_zero")
class SigmaZero(MinimalAttack):
    """Adam on the margin plus a smooth l0 norm, small changes set to 0 (Cina et al., Algorithm 1).

    Descends max(m, 0) + (1/D) sum_i r_i^2 / (r_i^2 + sigma), m > 0 the margin by which the decision still
    holds, along the gradient over its largest entry; after the box, changes below a threshold are undone. The
    threshold of an image rises while it fools the model, and falls while it does not.

    Args:
        threat: l0; its eps, if any, is where the robust accuracy is reported. With pixels=True r_i^2 is the
            sum over the channels of a pixel, and whole pixels are undone.
        steps: gradient steps.
        step_size: of Adam; it falls to a tenth by a cosine.
        sigma: how smooth the count is; at 0 it is the l0 norm.
        threshold: the first.
        rate: how far the threshold moves in one step, in units of the step size.

    Cost: steps forward-backward passes.

    >>> SigmaZero(steps=100)
    sigma_zero(threat=l0(pixels=False), steps=100)
    """

    reference = "arXiv:2402.01879"
    targetable = True
    threat: Threat = option(default=L0(pixels=False))
    steps: int = option(default=1000, low=1)
    step_size: float = option(default=1.0, above=0.0)
    sigma: float = option(default=0.001, above=0.0)
    threshold: float = option(default=0.3, low=0.0, high=1.0)
    rate: float = option(default=0.01, low=0.0)

    def check(self) -> None:
        require_norm(self.threat, "l0")

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        best, zero = self.no_best_yet(task), ops.zeros_like(task.x)
        threshold = ops.full_like(best["best_norm"], self.threshold)
        return {**best, "r": zero, "m": zero, "v": zero, "threshold": threshold}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now = task.x, state["r"]

        def objective(r: Tensor) -> tuple[Tensor, Tensor]:
            logits = task.logits(x + r)
            return ops.relu(-task.margin(logits)) + self._smooth_share(r), logits

        _, logits, g = value_and_grad(objective, now)
        hit = task.fooled(logits)
        seen = self.update_best(task, state, x + now, hit)
        g = g / expand_like(ops.maximum(ops.max(ops.abs(flatten(g)), axis=1), TINY), g)
        mean, root, m, v = adam_moments(state["m"], state["v"], g, state["k"])
        pace = self._pace(state["k"])
        moved = self.rate * ops.where(hit, pace, -pace)
        threshold = ops.clip(state["threshold"] + moved, 0.0, 1.0)
        r = ops.clip(x + now - expand_like(pace, x) * mean / root, 0.0, 1.0) - x
        return {**seen, "r": self._undo_small(r, threshold), "m": m, "v": v, "threshold": threshold}, never(
            hit
        )

    def _groups(self, r: Tensor) -> Tensor:
        norm: Any = self.threat  # an L0: `check`
        return norm.groups(r)

    def _smooth_share(self, r: Tensor) -> Tensor:
        """(B,) the smooth count of changes over how many there may be."""
        square = ops.sum(ops.square(self._groups(r)), axis=2)
        return ops.mean(square / (square + self.sigma), axis=1)

    def _undo_small(self, r: Tensor, threshold: Tensor) -> Tensor:
        grouped = self._groups(r)
        large = ops.max(ops.abs(grouped), axis=2, keepdims=True) >= threshold[:, None, None]
        return ops.reshape(ops.where(large, grouped, 0.0), ops.shape(r))

    def _pace(self, k: Tensor) -> Tensor:
        """(B,) the step size: a cosine to a tenth."""
        part = ops.cast(k, "float32") / self.steps
        return self.step_size * (0.1 + 0.9 * (1.0 + ops.cos(math.pi * part)) / 2.0)
