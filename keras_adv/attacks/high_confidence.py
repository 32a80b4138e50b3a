"""The high-confidence attack of the adversary critic, and its differentiable, unrolled form."""

from __future__ import annotations

import math

from keras import ops

from keras_adv.arrays import Logits, Tensor, expand_like, square_norm
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad
from keras_adv.losses import cross_entropy, predicted_class
from keras_adv.numerics.linearise import logit_differences, nearest_class
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm

CEILING = math.log1p(-1e-5)


def log_p_and_gradient(logits: Logits, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log p_target, logits, its gradient by x). One forward-backward pass."""

    def confidence(v: Tensor) -> tuple[Tensor, Tensor]:
        z = logits(v)
        return -cross_entropy(z, target), z

    return value_and_grad(confidence, x)


def step_to_confidence(value: Tensor, w: Tensor, log_c: Tensor) -> tuple[Tensor, Tensor]:
    """(length, direction) of the least l2 move to log p = log C on the linearised model (thesis, Alg. 1)."""
    n = ops.sqrt(1e-8 + square_norm(w))
    return 1e-4 + ops.abs(log_c - value) / n, w / expand_like(n, w)


@register("attack", "high_confidence")
class HighConfidence(MinimalAttack):
    """Climbs log p of the class across the nearest boundary until it reaches a confidence (thesis, Alg. 1).

    r <- r + (1e-4 + |log C - log p_t| / |w|) w / |w|, w = grad log p_t, each step at most `max_step` long and
    projected on the box (thesis 4.5). Only images that reach p_t >= C count as found.

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        steps: at most this many gradients.
        confidence: C in (0, 1); None is the confidence of the clean image (thesis 4.5), at most 1 - 1e-5.
        overshoot: share added to each step.
        max_step: longest l2 step, overshoot included; None for no limit.

    Cost: one Jacobian for the target, then one forward-backward pass a step.
    """

    reference = "Matyasko, thesis, ch. 4, Algorithm 1"
    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=500, low=1)
    confidence: float | None = option(default=None, above=0.0, high=0.9999)
    overshoot: float = option(default=0.02, low=0.0)
    max_step: float | None = option(default=0.1, above=0.0)

    def check(self) -> None:
        require_norm(self.threat, "l2")

    @property
    def rounds(self) -> int:
        return self.steps + 1

    @property
    def passes_at_start(self) -> Passes:
        return {"jacobian": 1}

    def start(self, task: Task) -> State:
        z, gaps, slopes = logit_differences(task.logits, task.x, task.y)
        # p = 1 is out of reach in float32: near it the gradient of log p is lost in rounding
        log_c = ops.minimum(ops.max(ops.log_softmax(z, axis=1), axis=1), CEILING)
        if self.confidence is not None:
            log_c = ops.full_like(log_c, ops.log(self.confidence))
        # a target of the caller's stands in place of the class across the nearest boundary
        target = nearest_class(self.threat, task.y, gaps, slopes) if task.target is None else task.target
        return {**self.no_best_yet(task), "x": task.x, "target": target, "log_c": log_c}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now, target = state["x"], state["target"]
        value, z, w = log_p_and_gradient(task.logits, now, target)
        sure = predicted_class(z) == target
        there = ops.logical_and(sure, value >= state["log_c"])
        length, direction = step_to_confidence(value, w, state["log_c"])
        length = (1.0 + self.overshoot) * length
        if self.max_step is not None:
            length = ops.minimum(length, self.max_step)
        new = ops.clip(now + expand_like(length, now) * direction, 0.0, 1.0)
        kept = {"target": target, "log_c": state["log_c"], "x": new}
        return {**self.update_best(task, state, now, there), **kept}, there

    def unrolled(self, logits: Logits, x: Tensor, target: Tensor, log_c: Tensor) -> Tensor:
        """Images that gradients flow *through*, into the weights of `logits` (thesis 4.4).

        The stopping rule p < C is a product of indicators; backwards each is replaced by the gradient of
        sigmoid(C - p) (straight-through). The point where each step linearises is detached, so gradients
        reach the weights by the step's length and direction only, as in the author's code. No box, and no
        limit of a step's length.

        Args:
            logits: differentiable pure function (B, H, W, C) -> (B, K).
            x: images.
            target: (B,) classes to reach.
            log_c: (B,) log of the confidence to reach.

        Cost: steps forward-backward passes, and second order when differentiated.
        """
        r, gate = ops.zeros_like(x), ops.ones_like(log_c)
        for _ in range(self.steps):
            here = ops.stop_gradient(x + (1.0 + self.overshoot) * r)
            value, _, w = log_p_and_gradient(logits, here, target)
            soft = ops.sigmoid(ops.exp(log_c) - ops.exp(value))
            below = ops.cast(value < log_c, "float32")
            gate = gate * (soft + ops.stop_gradient(below - soft))
            length, direction = step_to_confidence(value, w, log_c)
            r = r + expand_like(gate * length, x) * direction
        return x + (1.0 + self.overshoot) * r
