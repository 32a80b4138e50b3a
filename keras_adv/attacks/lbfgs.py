"""The L-BFGS attack: a box-constrained quasi-Newton method on a penalty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_adv import losses
from keras_adv.attacks.base import MinimalAttack, Passes
from keras_adv.attacks.host import Arrays, HostAttack
from keras_adv.attacks.rendezvous import Answer, Ask, Enough, minimise, together
from keras_adv.attacks.task import Logits, Task
from keras_adv.backend import value_and_grad
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import Tensor, only


@register("attack", "lbfgs")
class LBFGS(HostAttack, MinimalAttack):
    """min |r|_2^2 / c + cross-entropy(x + r, t) in the box by L-BFGS-B; t is the target, or the runner-up class at x.

    The smallest c that works is searched for each image: x 10 until one works, then bisection. Of all points that
    the optimiser visits the nearest adversarial one is kept. (The paper has |r|, whose square is smooth at 0,
    and c for 1/c here.)

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        searches: values of c.
        steps: points visited at most for each c.
        initial: the first c.

    Cost: searches x steps forward-backward passes at most, and a forward pass to find t. SciPy's own time on the
    host comes on top: it takes one image at a time.
    """

    reference = "arXiv:1312.6199"
    targetable = True
    threat: Threat = option(default=L2())
    searches: int = option(default=9, low=1)
    steps: int = option(default=100, low=1)
    initial: float = option(default=0.01, above=0.0)

    def check(self) -> None:
        only(self.threat, "l2")

    @property
    def total(self) -> int:
        return self.searches * self.steps

    @property
    def opens(self) -> Passes:
        return {"forward": 1}

    def search(
        self, logits: Logits, compile: Callable[..., Any]
    ) -> Callable[[Arrays], tuple[np.ndarray, np.ndarray]]:
        def aim(fields: Arrays) -> Tensor:
            task = Task(logits, *fields)
            if task.target is not None:
                return ops.cast(task.target, "int32")
            z = task.see(task.x)
            return losses.decision(ops.where(ops.one_hot(task.y, z.shape[1], dtype="bool"), -1e30, z))

        def look(fields: Arrays, goal: Tensor, images: Tensor) -> tuple[Tensor, ...]:
            task = Task(logits, *fields)

            def surprise(v: Tensor) -> tuple[Tensor, Tensor]:
                z = task.see(v)
                return ops.softplus(losses.log_odds(z, goal)), z

            value, z, g = value_and_grad(surprise, images)
            return value, g, task.fooled(z), self.threat.norm(images - task.x)

        first, evaluate = compile(aim), compile(look)

        def run(fields: Arrays) -> tuple[np.ndarray, np.ndarray]:
            goal, x = first(fields), fields[0]
            found = together(lambda i, ask: self._one(x[i], ask), lambda v: evaluate(fields, goal, v), x)
            return np.stack([image for image, _ in found]), np.array([used for _, used in found], "int32")

        return run

    def _one(self, x: np.ndarray, ask: Ask) -> tuple[np.ndarray, int]:
        """(the nearest adversarial image, or x; points visited)."""
        best, best_norm, used = x, np.inf, 0
        lowest, worked = np.inf, False
        c, low, high = self.initial, 0.0, np.inf

        def objective(point: np.ndarray, answer: Answer) -> tuple[float, np.ndarray]:
            nonlocal best, best_norm, used, lowest, worked
            surprise, g, hit, norm = answer
            used += 1
            if hit and norm < best_norm:
                best, best_norm = point.astype("float32"), float(norm)
            if best_norm == 0:  # x itself
                raise Enough
            r = point - x
            value = np.square(r).sum() / c + float(surprise)
            if value < lowest:  # the minimum decides on c: a line search may look far beyond it
                lowest, worked = value, bool(hit)
            return value, 2.0 * r / c + g

        for _ in range(self.searches):
            lowest, worked = np.inf, False
            minimise(ask, objective, x, np.zeros_like(x), np.ones_like(x), self.steps)
            if best_norm == 0:
                break
            low, high = (low, c) if worked else (c, high)
            c = 10.0 * c if high == np.inf else (low + high) / 2
        return best, used
