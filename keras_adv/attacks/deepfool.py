"""DeepFool."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.losses import pick
from keras_adv.numerics.linearise import logit_differences, nearest_class
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm


@register("attack", "deepfool")
class DeepFool(MinimalAttack):
    """Steps to the nearest linearised decision boundary until the class changes.

    x <- clip(x + (1 + overshoot) (|f_k| / |w_k|_dual + 1e-4) steepest(w_k)), where f_k = z_k - z_y, w_k its
    gradient and k the class nearest by |f_k| / |w_k|_dual. Projected on the box at each step (thesis 4.5);
    away from the box, and with threat=l2(box=False), this is the paper's x + (1 + overshoot) sum r.

    Args:
        threat: l2 (the paper) or linf; its eps, if any, is where the robust accuracy is reported.
        steps: at most this many Jacobians.
        overshoot: how far beyond the linearised boundary each image is looked at.
        max_step: longest l2 step, overshoot included; None for no limit (thesis 4.5: 0.1; 3.5: 0.5).

    Cost: K backward passes a step for K classes; most images need 2 to 4 steps.
    """

    reference = "arXiv:1511.04599"
    leaves_box = True
    threat: Threat = option(default=L2())
    steps: int = option(default=50, low=1)
    overshoot: float = option(default=0.02, low=0.0)
    max_step: float | None = option(default=None, above=0.0)

    def check(self) -> None:
        require_norm(self.threat, "l2", "linf")

    @property
    def rounds(self) -> int:
        return self.steps + 1  # one more round to look at the last image

    @property
    def passes_per_round(self) -> Passes:
        return {"jacobian": 1}

    def start(self, task: Task) -> State:
        return {**self.no_best_yet(task), "x": task.x}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now = state["x"]
        z, gaps, slopes = logit_differences(task.logits, now, task.y)
        fooled = task.fooled(z)
        k = nearest_class(self.threat, task.y, gaps, slopes)
        gap, w = ops.abs(pick(gaps, k)), pick(slopes, k)
        length = gap / ops.maximum(self.threat.dual(w), TINY) + 1e-4
        move = (1.0 + self.overshoot) * expand_like(length, now) * self.threat.steepest(w)
        if self.max_step is not None:
            size = ops.maximum(l2_norm(move), TINY)
            move = move * expand_like(ops.minimum(1.0, self.max_step / size), now)
        return {**self.update_best(task, state, now, fooled), "x": self.threat.into_box(now + move)}, fooled
