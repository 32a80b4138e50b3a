"""Feature adversary: an image whose features are those of another image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_adv import validate
from keras_adv.attacks.base import BoundedAttack, Passes
from keras_adv.attacks.host import Arrays, HostAttack
from keras_adv.attacks.rendezvous import Answer, Ask, Enough, minimise, together
from keras_adv.attacks.task import Logits, Task
from keras_adv.backend import value_and_grad
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import Tensor, only


@register("attack", "feature_adversary")
class FeatureAdversary(HostAttack, BoundedAttack):
    """min |phi(x') - phi(guide)|_2^2 with |x' - x|_inf <= eps in the box, by L-BFGS-B.

    phi is the layer named "features". The guide is an image of the set of another class, or of the target's: each
    image draws its own. The search for an image ends at the first point that is a mistake (reaches the target).

    Args:
        threat: linf, with an eps (the paper: 10/255 on ImageNet).
        steps: points visited at most (the paper: 500 iterations).

    Cost: steps forward-backward passes to the features and as many forward passes to the logits at most, and one
    pass for the guides. SciPy's own time on the host comes on top: it takes one image at a time.
    """

    reference = "arXiv:1511.05122"
    targetable = True
    guided = True
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=500, low=1)

    def check(self) -> None:
        super().check()
        only(self.threat, "linf")

    @property
    def total(self) -> int:
        return self.steps

    @property
    def opens(self) -> Passes:
        return {"forward": 1}

    def search(
        self, logits: Logits, compile: Callable[..., Any]
    ) -> Callable[[Arrays], tuple[np.ndarray, np.ndarray]]:
        def look(fields: Arrays, aim: Tensor, images: Tensor) -> tuple[Tensor, ...]:
            task = Task(logits, *fields)
            # what is judged: float32, in the ball
            images = task.x + self.threat.shrink(images - task.x, task.eps)

            def far(v: Tensor) -> tuple[Tensor, Tensor]:
                return ops.sum(ops.square(task.features(v) - aim), axis=1), task.see(v)

            value, z, g = value_and_grad(far, images)
            return value, g, task.fooled(z)

        def features(fields: Arrays) -> Tensor:
            return Task(logits, *fields).features(fields[-1])

        first, evaluate = compile(features), compile(look)

        def run(fields: Arrays) -> tuple[np.ndarray, np.ndarray]:
            x, eps = fields[0], fields[3]
            if fields[-1] is None:
                raise validate.fail("guide", "an image for each image; keras_adv.attack chooses them", None)
            aim = first(fields)
            found = together(
                lambda i, ask: self._one(x[i], eps[i], ask), lambda v: evaluate(fields, aim, v), x
            )
            return np.stack([image for image, _ in found]), np.array([used for _, used in found], "int32")

        return run

    def _one(self, x: np.ndarray, eps: float, ask: Ask) -> tuple[np.ndarray, int]:
        """(the first mistake, or the last point; points visited)."""
        last, used = x, 0

        def objective(point: np.ndarray, answer: Answer) -> tuple[float, np.ndarray]:
            nonlocal last, used
            value, g, hit = answer
            last, used = point.astype("float32"), used + 1
            if hit:
                raise Enough
            return float(value), g

        minimise(ask, objective, x, np.maximum(x - eps, 0.0), np.minimum(x + eps, 1.0), self.steps)
        return last, used
