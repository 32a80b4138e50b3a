"""Feature adversary: an image whose features are those of another image."""

from __future__ import annotations

from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor, flatten
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import BoundedAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad
from keras_adv.numerics import quasi_newton
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import require_norm


@register("attack", "feature_adversary")
class FeatureAdversary(BoundedAttack):
    """min |phi(x') - phi(guide)|_2^2 with |x' - x|_inf <= eps in the box, by L-BFGS.

    phi are the features (`keras_adv.features`). The guide is an image of the set of another class, or of the
    target's: each image draws its own. The search for an image ends at the first point that is a mistake
    (reaches the target).

    Args:
        threat: linf, with an eps (the paper: 10/255 on ImageNet).
        steps: points visited at most (the paper: 500 iterations).

    Cost: steps forward-backward passes to the features and as many forward passes to the logits at most, and
    one pass for the guides.
    """

    gives_up = True
    reference = "arXiv:1511.05122"
    targetable = True
    guided = True
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=500, low=1)

    def check(self) -> None:
        super().check()
        require_norm(self.threat, "linf")

    @property
    def rounds(self) -> int:
        return self.steps

    @property
    def passes_at_start(self) -> Passes:
        return {"forward": 1}

    def start(self, task: Task) -> State:
        if task.examples.guide is None:
            raise validate.invalid("guide", "an image for each image; keras_adv.attack chooses them", None)
        return {**quasi_newton.begin(task.x), "aim": task.features(task.examples.guide)}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, eps = flatten(task.x), task.eps[:, None]
        low, high = ops.maximum(x - eps, 0.0), ops.minimum(x + eps, 1.0)

        def far(v: Tensor) -> tuple[Tensor, Tensor]:
            phi, z = task.features_and_logits(v)
            return ops.sum(ops.square(phi - state["aim"]), axis=1), z

        value, z, g = value_and_grad(far, state["x"])
        now, verdict = quasi_newton.accept(state, value, g, low, high)
        now = quasi_newton.propose(now, verdict, low, high, ops.ones_like(value))
        return now, ops.logical_or(task.fooled(z), verdict.finished)
