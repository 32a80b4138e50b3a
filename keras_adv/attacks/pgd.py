"""Projected gradient descent, and the ascent loop that FGSM and BIM are cases of."""

from __future__ import annotations

from keras import ops

from keras_adv import noise
from keras_adv.attacks.base import BoundedAttack, Logits, State
from keras_adv.backend import value_and_grad
from keras_adv.losses import LOSSES, decision
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import Tensor, rows


class Ascent(BoundedAttack):
    """x <- P(x + step eps ascent(grad loss)), P the projection on ball and box."""

    threat: Threat
    loss: str
    steps: int = 1
    restarts: int = 1
    random_start: bool = False

    @property
    def length(self) -> float:
        """Length of one step in units of eps."""
        return 1.0

    @property
    def total(self) -> int:
        # between two restarts the last iterate gets a round of its own to be looked at
        return self.restarts * (self.steps + 1) - 1

    def start(self, logits: Logits, x: Tensor, y: Tensor, seeds: Tensor) -> State:
        return {"x": self._origin(x, seeds), "seeds": seeds}

    def _origin(self, x: Tensor, seeds: Tensor) -> Tensor:
        return self.threat.sample(x, seeds) if self.random_start else x

    def step(self, logits: Logits, x: Tensor, y: Tensor, state: State) -> tuple[State, Tensor]:
        def ascended(v: Tensor) -> tuple[Tensor, Tensor]:
            z = logits(v)
            return LOSSES[self.loss](z, y), z

        now = state["x"]
        _, z, g = value_and_grad(ascended, now)
        move = self.length * self.threat.radius() * self.threat.ascent(g, now)
        new = self.threat.project(now + move, x)
        if self.restarts > 1:
            again = (state["k"] + 1) % (self.steps + 1) == 0
            fresh = self._origin(x, noise.fold(state["seeds"], state["k"]))
            new = ops.where(rows(again, x), fresh, new)
        fooled = decision(z) != y
        return {"x": new, "seeds": state["seeds"]}, fooled


@register("attack", "pgd")
class PGD(Ascent):
    """Projected gradient descent from a random start (Madry et al., arXiv:1706.06083, eq. 2).

    Args:
        threat: any norm, with an eps.
        steps: gradient steps of one restart.
        step_size: length of a step in units of eps; None is 2.5 / steps (Madry et al., app. D).
        restarts: independent random starts; an image counts as robust if it survives all.
        random_start: start uniform in the ball instead of at x.
        loss: "cross_entropy", "margin" or "dlr".

    Cost: steps forward-backward passes a restart, fewer for images that are fooled on the way.
    """

    reference = "arXiv:1706.06083"
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=40, low=1)
    step_size: float | None = option(default=None, above=0.0)
    restarts: int = option(default=1, low=1)
    random_start: bool = option(default=True)
    loss: str = option(default="cross_entropy", choices=tuple(LOSSES))

    @property
    def length(self) -> float:
        return 2.5 / self.steps if self.step_size is None else self.step_size
