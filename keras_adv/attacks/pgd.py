"""Projected gradient descent, and the ascent loop that FGSM, BIM, MIM and DAA are cases of."""

from __future__ import annotations

from keras import ops

from keras_adv import noise, validate
from keras_adv.attacks.base import BoundedAttack, Passes, State, where_any
from keras_adv.attacks.objectives import OBJECTIVES
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import Tensor, beside


class Climber(BoundedAttack):
    """A bounded attack that ascends an objective, `loss`."""

    threat: Threat
    loss: str
    targetable = True
    eot: int = 1

    def check(self) -> None:
        super().check()
        validate.one_of("loss", self.loss, OBJECTIVES)

    @property
    def least_classes(self) -> int:
        return OBJECTIVES[self.loss].least

    @property
    def asks(self) -> Passes:
        return {"gradient": self.eot}

    @property
    def opens(self) -> Passes:
        return {"forward": int(OBJECTIVES[self.loss].reference is not None)}

    def compare(self, task: Task) -> State:
        """The entry of the state that the objective compares with, if it does."""
        chosen = OBJECTIVES[self.loss]
        if task.target is not None and not chosen.targetable:
            raise validate.fail("loss", "one with a targeted form when there are targets", self.loss)
        return {} if chosen.reference is None else {"reference": ops.stop_gradient(chosen.reference(task))}

    def climb(self, task: Task, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """(objective (B,), logits, gradient) at state["x"]; means over `eot` draws of a random net."""
        value = OBJECTIVES[self.loss].value
        sums: list[Tensor] = []
        for n in range(self.eot):
            draw = ops.sum(state["k"]) * self.eot + n  # another in every round of the batch

            def ascended(v: Tensor, draw: Tensor = draw) -> tuple[Tensor, Tensor]:
                z = task.see(v, draw)
                return value(task, v, z, state.get("reference")), z

            parts = value_and_grad(ascended, state["x"])
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else list(parts)
        return tuple(part / self.eot for part in sums) if self.eot > 1 else tuple(sums)


class Ascent(Climber):
    """x <- P(x + step eps ascent(grad loss)), P the projection on ball and box."""

    steps: int = 1
    restarts: int = 1
    random_start: bool = False
    jitter: float = 0.0

    @property
    def length(self) -> float:
        """Length of one step in units of eps."""
        return 1.0

    @property
    def total(self) -> int:
        # between two restarts the last iterate gets a round of its own to be looked at
        return self.restarts * (self.steps + 1) - 1

    def start(self, task: Task) -> State:
        return {"x": self._origin(task, task.seeds), **self.memory(task), **self.compare(task)}

    def memory(self, task: Task) -> State:
        """What `direct` remembers of a run, at its start."""
        del task
        return {}

    def direct(self, task: Task, state: State, g: Tensor) -> tuple[Tensor, State]:
        """(what to follow in place of the gradient g, the new memory)."""
        del task, state
        return g, {}

    def _origin(self, task: Task, seeds: Tensor) -> Tensor:
        start = self.threat.sample(task.x, seeds, task.eps) if self.random_start else task.x
        if not self.jitter:
            return start
        drawn = noise.normal(noise.fold(seeds, 1), tuple(task.x.shape[1:]))
        return self.threat.project(start + self.jitter * drawn, task.x, task.eps)

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now = state["x"]
        _, z, g = self.climb(task, state)
        g, memory = self.direct(task, state, g)
        move = beside(self.length * task.eps, now) * self.threat.ascent(g, now)
        new = {"x": self.threat.project(now + move, task.x, task.eps), **memory}
        if self.restarts > 1:
            again = (state["k"] + 1) % (self.steps + 1) == 0
            seeds = noise.fold(task.seeds, state["k"])
            new = where_any(again, lambda: {"x": self._origin(task, seeds), **self.memory(task)}, new)
        return {**state, **new}, task.fooled(z)


@register("attack", "pgd")
class PGD(Ascent):
    """Projected gradient descent from a random start (Madry et al., arXiv:1706.06083, eq. 2).

    Args:
        threat: any norm, with an eps.
        steps: gradient steps of one restart.
        step_size: length of a step in units of eps; None is 2.5 / steps (Madry et al., app. D).
        restarts: independent random starts; an image counts as robust if it survives all.
        random_start: start uniform in the ball instead of at x.
        jitter: standard deviation of Gaussian noise on the start, for objectives without a gradient at x: with
            random_start=False and 0.001 the start of TRADES.
        loss: what is ascended: "cross_entropy", "scaled", "margin", "dlr", "kl", "features", or a defense's own.
        eot: draws of a random net that each gradient is the mean of (arXiv:1707.07397). Such a net draws for a whole
            batch: only there do results depend on the batch size.

    Cost: steps x eot forward-backward passes a restart, fewer for images that are fooled on the way.
    """

    reference = "arXiv:1706.06083"
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=40, low=1)
    step_size: float | None = option(default=None, above=0.0)
    restarts: int = option(default=1, low=1)
    random_start: bool = option(default=True)
    jitter: float = option(default=0.0, low=0.0)
    loss: str = option(default="cross_entropy")
    eot: int = option(default=1, low=1)

    @property
    def length(self) -> float:
        return 2.5 / self.steps if self.step_size is None else self.step_size
