"""What the two primal-dual attacks share: the margin, the duals in the log domain, Adam.

min_r norm(r) subject to a wrong decision, as a game: r descends lam1 norm(r) + lam2 surrogate(m), while
(lam1, lam2) on the simplex ascend the constraint sign(m); m = z_y - max_{i != y} z_i > 0 while the decision
still holds. The thesis prints the signs of 5.1, 5.3 and 5.7 the other way round; this is the form that
minimises, and that the author's code runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from keras import ops

from keras_adv import noise
from keras_adv.attacks.base import Logits, MinimalAttack, State
from keras_adv.backend import value_and_grad
from keras_adv.losses import margin
from keras_adv.registry import option
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import Tensor, rows

FLOOR = math.log(1e-6)


@dataclass(frozen=True, repr=False)
class PrimalDual(MinimalAttack):
    """The loop of PDGD and PDPGD; a subclass writes `descend`."""

    threat: Threat = option(default=L2())
    steps: int = option(default=250, low=1)
    lr: float = option(default=1.0, above=0.0)
    final: float = option(default=0.001, above=0.0, high=1.0)
    dual_lr: float = option(default=0.1, above=0.0)
    ratio: float = option(default=1.0, above=0.0)
    surrogate: str = option(default="softplus", choices=("softplus", "hinge"))
    restarts: int = option(default=2, low=1)
    decay: str = option(default="exponential", choices=("exponential", "linear"))

    @property
    def total(self) -> int:
        return self.restarts * self.steps

    def start(self, logits: Logits, x: Tensor, y: Tensor, seeds: Tensor) -> State:
        return {**self.nothing_yet(x), **self._fresh(x), "seeds": seeds}

    def _fresh(self, x: Tensor) -> State:
        one = ops.ones_like(x[:, 0, 0, 0])
        first = [math.log(self.ratio / (1 + self.ratio)), math.log(1 / (1 + self.ratio))]
        duals = ops.stack([one * first[0], one * first[1]], axis=1)
        zero = ops.zeros_like(x)
        return {"r": zero, "m": zero, "v": zero, "duals": duals, "mean": ops.exp(duals)}

    def step(self, logits: Logits, x: Tensor, y: Tensor, state: State) -> tuple[State, Tensor]:
        now = state["r"]
        _, m, g = value_and_grad(lambda v: self._constraint(logits, v, y), x + now)
        seen = self.record(state, x, x + now, m < 0)
        k = state["k"] % self.steps
        part = ops.cast(k, "float32") / self.steps
        duals = self._raise(state["duals"], m, self.dual_lr * (1.0 - 0.9 * part))
        mean = 0.9 * state["mean"] + 0.1 * ops.exp(duals)
        new = self.descend(x, {**state, "k": k}, g, self.lr * self._left(part))
        new = {**new, "duals": duals, "mean": mean}
        if self.restarts > 1:
            again = k + 1 == self.steps
            other = self._fresh(x)
            spread = noise.uniform(noise.fold(state["seeds"], state["k"]), tuple(x.shape[1:]))
            other["r"] = ops.clip(x + spread - 0.5, 0.0, 1.0) - x
            new = {n: ops.where(rows(again, v), other[n], v) for n, v in new.items()}
        return {**seen, **new, "seeds": state["seeds"]}, m != m

    def _left(self, part: Tensor) -> Tensor:
        """Share of the learning rate after `part` of a run."""
        if self.decay == "exponential":
            return ops.power(self.final, part)
        return 1.0 - (1.0 - self.final) * part

    def descend(self, x: Tensor, state: State, g: Tensor, lr: Tensor) -> State:
        """The next "r", "m", "v"; g is the gradient of the surrogate, state["mean"] the smoothed duals."""
        raise NotImplementedError

    def _constraint(self, logits: Logits, v: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        m = -margin(logits(v), y)
        return (ops.softplus(m) if self.surrogate == "softplus" else ops.relu(m)), m

    @staticmethod
    def _raise(duals: Tensor, m: Tensor, rate: Tensor) -> Tensor:
        """Weight of the constraint up where the decision still holds (sign(m) = 1), else down."""
        moved = ops.stack([duals[:, 0], duals[:, 1] + rate * ops.where(m > 0, 1.0, -1.0)], axis=1)
        return ops.maximum(ops.log_softmax(moved, axis=1), FLOOR)


def adam(state: State, g: Tensor) -> tuple[Tensor, Tensor, State]:
    """(unbiased mean, root of the unbiased square + 1e-8, the new moments)."""
    m, v = 0.9 * state["m"] + 0.1 * g, 0.999 * state["v"] + 0.001 * ops.square(g)
    t = rows(ops.cast(state["k"], "float32") + 1.0, g)
    root = ops.sqrt(v / (1.0 - ops.power(0.999, t))) + 1e-8
    return m / (1.0 - ops.power(0.9, t)), root, {"m": m, "v": v}
