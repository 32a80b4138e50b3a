"""The L-BFGS attack: a box-constrained quasi-Newton method on a penalty."""

from __future__ import annotations

from keras import ops

from keras_adv import losses
from keras_adv.arrays import Tensor, dot, expand_like, flatten, never
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.penalty.search import first_weight, next_weight
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad
from keras_adv.numerics import quasi_newton
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm


@register("attack", "lbfgs")
class LBFGS(MinimalAttack):
    """min |r|_2^2 / c + cross-entropy(x + r, t) in the box by L-BFGS; t is the target, or the runner-up class
    at x.

    The smallest c that works is searched for each image: x 10 until one works, then bisection. Of all points
    that the optimiser visits the nearest adversarial one is kept. (The paper has |r|, whose square is smooth
    at 0, and c for 1/c here.) Each c starts from the last point of the one before and keeps its
    L-BFGS pairs, corrected by the known change of |r|^2 / c.

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        searches: values of c.
        steps: points visited at most for each c.
        initial: the first c.

    Cost: searches x steps forward-backward passes at most, and a forward pass to find t.
    """

    reference = "arXiv:1312.6199"
    targetable = True
    threat: Threat = option(default=L2())
    searches: int = option(default=9, low=1)
    steps: int = option(default=100, low=1)
    initial: float = option(default=0.01, above=0.0)

    def check(self) -> None:
        require_norm(self.threat, "l2")

    @property
    def rounds(self) -> int:
        return self.searches * self.steps

    @property
    def passes_at_start(self) -> Passes:
        return {"forward": 1}

    def start(self, task: Task) -> State:
        return {
            **self.no_best_yet(task),
            **quasi_newton.begin(task.x),
            **first_weight(task, self.initial),
            "goal": self._goal(task),
            "worked": never(task.y),  # whether the best point for this c is adversarial
            "visited": ops.zeros_like(task.y),  # points for this c
            "search": ops.zeros_like(task.y),
        }

    def _goal(self, task: Task) -> Tensor:
        if task.target is not None:
            return ops.cast(task.target, "int32")
        z = task.logits(task.x)
        return losses.predicted_class(ops.where(ops.one_hot(task.y, z.shape[1], dtype="bool"), -1e30, z))

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        image, c = state["x"], state["c"]

        def cross_entropy(v: Tensor) -> tuple[Tensor, Tensor]:
            z = task.logits(v)
            return ops.softplus(losses.log_odds_against(z, state["goal"])), z

        value, z, g = value_and_grad(cross_entropy, image)
        hit = task.fooled(z)
        seen = self.update_best(task, state, image, hit)
        r = image - task.x
        value, g = value + dot(flatten(r), flatten(r)) / c, g + 2.0 * r / expand_like(c, r)
        clean = flatten(task.x)
        low, high = ops.zeros_like(clean), ops.ones_like(clean)
        now, verdict = quasi_newton.accept(state, value, g, low, high)
        worked = ops.where(verdict.taken, hit, state["worked"])
        ended = ops.logical_or(verdict.finished, state["visited"] + 1 >= self.steps)
        weight = next_weight(state, ended, worked)
        now = reweigh(now, now["at"] - clean, 1.0 / weight["c"] - 1.0 / c)
        verdict = verdict._replace(fresh=ops.logical_or(verdict.fresh, ended))
        now = quasi_newton.propose(now, verdict, low, high, weight["c"] / 2.0)
        search = state["search"] + ops.cast(ended, "int32")
        counts = {"visited": ops.where(ended, 0, state["visited"] + 1), "search": search, "worked": worked}
        finished = ops.logical_or(search >= self.searches, seen["best_norm"] == 0)
        return {**now, **seen, **weight, **counts}, finished


def reweigh(state: State, r: Tensor, change: Tensor) -> State:
    """`quasi_newton`'s state after `change` (B,) |r|_2^2 was added to its function; r is "at" less x."""
    bent = state["y"] + 2.0 * change[:, None, None] * state["s"]
    value, g = state["value"] + change * dot(r, r), state["g"] + 2.0 * change[:, None] * r
    return {**state, "value": value, "g": g, "y": bent}
