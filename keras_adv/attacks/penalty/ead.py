"""Elastic-net attack: C&W's search with an l1 term in place of the change of variables."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, expand_like, flatten
from keras_adv.attacks.base import State
from keras_adv.attacks.penalty.search import PenaltySearch
from keras_adv.attacks.task import Task
from keras_adv.registry import option, register
from keras_adv.threats import L1, Threat
from keras_adv.threats.base import require_norm


@register("attack", "ead")
class EAD(PenaltySearch):
    """min beta |r|_1 + |r|_2^2 + c max(kappa - margin(x + r), 0): gradient steps, each thresholded by beta.

    r <- S_beta(y - lr_k grad - x), in the box; then y <- x + r + k/(k+3) (r - r_before), where the model is
    asked next. As in the authors' code the threshold is beta itself, not lr beta: lr_k = lr sqrt(1 -
    k/steps).

    Args:
        threat: l1; its eps, if any, is where the robust accuracy is reported.
        searches: values of c, searched for each image as in `carlini_wagner`.
        steps: for each c (the paper: 1000).
        lr: at the first step.
        initial: the first c (as the authors' code; thesis 5.4: 0.01).
        confidence: kappa, the margin that counts as a success.
        abort_early: an image goes on to its next c after a tenth of the steps without a gain of 0.01%.
        beta: weight of |r|_1, and the smallest change that a step leaves (the paper: 0.001; thesis 5.4:
            0.05).
        rule: the image that is kept is the nearest by "l1", or by "elastic", beta |r|_1 + |r|_2^2.
        algorithm: "fista", or "ista": without the momentum.

    The model is asked at y alone, and y, in the box, is what can be kept. The authors ask it at x + r too.

    Cost: searches x steps forward-backward passes at most; images that stall take fewer.
    """

    reference = "arXiv:1709.04114"
    threat: Threat = option(default=L1())
    beta: float = option(default=0.01, above=0.0)
    rule: str = option(default="l1", choices=("l1", "elastic"))
    algorithm: str = option(default="fista", choices=("fista", "ista"))

    def check(self) -> None:
        require_norm(self.threat, "l1")

    def origin(self, task: Task) -> State:
        return {"r": ops.zeros_like(task.x), "y": task.x}

    def image(self, task: Task, state: State) -> Tensor:
        return state["y"]

    def size(self, r: Tensor) -> Tensor:
        return self.beta * self.threat.norm(r) + ops.sum(ops.square(flatten(r)), axis=1)

    def descend(self, task: Task, state: State, image: Tensor, g: Tensor) -> State:
        t = ops.cast(state["t"], "float32")
        lr = self.lr * ops.sqrt(1.0 - t / self.steps)
        r = image - task.x
        r = self.threat.prox(r - expand_like(lr, g) * (2.0 * r + g), ops.full_like(t, self.beta))
        r = ops.clip(task.x + r, 0.0, 1.0) - task.x
        ahead = r if self.algorithm == "ista" else r + expand_like(t / (t + 3.0), r) * (r - state["r"])
        return {"r": r, "y": ops.clip(task.x + ahead, 0.0, 1.0)}

    def measure(self, r: Tensor) -> Tensor:
        return super().measure(r) if self.rule == "l1" else self.size(r)
