"""Carlini & Wagner's attack."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, flatten
from keras_adv.attacks.base import State
from keras_adv.attacks.penalty.search import PenaltySearch
from keras_adv.attacks.task import Task
from keras_adv.numerics.adam import adam_moments
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm


@register("attack", "carlini_wagner")
class CarliniWagner(PenaltySearch):
    """min |r|_2^2 + c max(kappa - margin(x + r), 0) by Adam, with x + r = (tanh(w) + 1) / 2 always in the
    box.

    The smallest c that works is searched for each image: x 10 until one works, then bisection.

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        searches: values of c.
        steps: of Adam, for each c (the authors' code: 10000).
        lr: of Adam.
        initial: the first c (as the authors' code; thesis 5.4: 0.01).
        confidence: kappa, the margin that counts as a success.
        abort_early: an image goes on to its next c after a tenth of the steps without a gain of 0.01%.
        c: a c in place of the search (arXiv:2011.01755, with a cap).
        cap: largest change of a pixel value; each step of w is clipped to it.

    The authors' last run at the smallest c that worked is left out: Adam would take the same steps again.

    Cost: searches x steps forward-backward passes at most; images that stall take fewer.
    """

    reference = "arXiv:1608.04644"
    threat: Threat = option(default=L2())
    c: float | None = option(default=None, above=0.0)
    cap: float | None = option(default=None, above=0.0, high=1.0)

    def check(self) -> None:
        require_norm(self.threat, "l2")

    @property
    def weights(self) -> int:
        return self.searches if self.c is None else 1

    @property
    def first(self) -> float:
        return self.initial if self.c is None else self.c

    def origin(self, task: Task) -> State:
        zero = ops.zeros_like(task.x)
        return {"w": _to_w(task.x), "m": zero, "v": zero}

    def image(self, task: Task, state: State) -> Tensor:
        return ops.sigmoid(2.0 * state["w"])  # (tanh(w) + 1) / 2, exact near 0

    def size(self, r: Tensor) -> Tensor:
        return ops.sum(ops.square(flatten(r)), axis=1)

    def descend(self, task: Task, state: State, image: Tensor, g: Tensor) -> State:
        slope = 2.0 * image * (1.0 - image)  # of the image in w
        g = (2.0 * (image - task.x) + g) * slope
        mean, root, m, v = adam_moments(state["m"], state["v"], g, state["t"])
        w = state["w"] - self.lr * mean / root
        if self.cap is not None:
            lowest, highest = ops.maximum(task.x - self.cap, 0.0), ops.minimum(task.x + self.cap, 1.0)
            w = ops.clip(w, _to_w(lowest), _to_w(highest))
        return {"w": w, "m": m, "v": v}


def _to_w(x: Tensor) -> Tensor:
    return ops.arctanh((2.0 * x - 1.0) * 0.999999)
