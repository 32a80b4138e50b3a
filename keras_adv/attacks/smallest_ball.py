"""The smallest ball in which a bounded attack finds a mistake."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.attacks.base import Attack, Passes, State
from keras_adv.attacks.contracts import Around, BoundedAttack, MinimalAttack
from keras_adv.attacks.host import HostAttack
from keras_adv.attacks.pgd import PGD
from keras_adv.attacks.task import Task
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, preset, register
from keras_adv.threats import L0, Linf, Threat
from keras_adv.validate import invalid


@register("attack", "smallest_ball")
class SmallestBall(Around, MinimalAttack):
    """Makes a bounded attack a minimal one: bisects the radius in which it finds a mistake, for each image.

    From low = 0 and high = the norm of the farthest corner of the box the attack runs at (low + high) / 2, up
    to its first mistake. Where it has found one, high <- the norm of that mistake, else low <- the radius.
    Each run draws its own random numbers. l0 counts: the radius is rounded down to a whole number, and the
    search ends where high = low + 1.

    With `pgd` in l0 this is PGD_0 (Croce & Hein, arXiv:1909.05040) as a minimal attack, the preset `pgd_l0`.
    There steps must be long (theirs, 470 g / |g|_1, is about 10 in l2 on CIFAR-10, whatever eps is): the
    projection then keeps what has the largest gradient and way to the box.

    Args:
        threat: any norm that the attack has; its eps, if any, is where the robust accuracy is reported.
        attack: a bounded one that runs in a graph; the threat is in place of its own.
        searches: runs at most. What is left of the first interval after n runs is at most 2^-n.

    Cost: searches runs of the attack, each with one round more, to look at its last image; a run that finds a
    mistake ends there. Passes that it takes before a run's first step are counted for the first run only.

    >>> SmallestBall(threat="l0()", attack="pgd(steps=20)")
    smallest_ball(threat=l0(), attack=pgd(steps=20))
    """

    threat: Threat = option(default=Linf())
    attack: Attack = option(default=PGD())
    searches: int = option(default=10, low=1)

    def check(self) -> None:
        if not isinstance(self.attack, BoundedAttack) or isinstance(self.attack, HostAttack):
            raise invalid("attack", "a bounded attack that runs in a graph", self.attack)
        if self.attack.gives_up:
            raise invalid("attack", "an attack that ends early only with a mistake", self.attack)
        if not self.attack.threat.box:
            raise invalid("attack", "an attack in the box", self.attack)
        if self.attack.guided:
            raise invalid("attack", "an attack without a guide image", self.attack)
        self._inner()  # has this norm

    def _inner(self) -> Attack:
        return self.attack.replace(threat=self.threat.replace(eps=1.0))  # the radius is the task's

    @property
    def rounds(self) -> int:
        return self.searches * (self.attack.rounds + 1)

    @property
    def passes_per_round(self) -> Passes:
        return self.attack.passes_per_round

    @property
    def passes_at_start(self) -> Passes:
        return self.attack.passes_at_start

    def start(self, task: Task) -> State:
        best, none = self.no_best_yet(task), ops.zeros_like(task.y)
        low = ops.zeros_like(best["best_norm"])
        high = self.threat.norm(ops.maximum(task.x, 1.0 - task.x))
        eps = self._middle(low, high)
        search = {"low": low, "high": high, "eps": eps, "run": none, "round": none}
        return {**best, **search, **self._first(task, eps, none)}

    def _first(self, task: Task, eps: Tensor, run: Tensor) -> State:
        """The state of the inner attack at the start of a run."""
        state = self._inner().start(self._task(task, eps, run))
        return {INNER + name: value for name, value in state.items()}

    def _task(self, task: Task, eps: Tensor, run: Tensor) -> Task:
        return task.with_goal(eps=eps, seeds=noise.fold(task.seeds, run))

    def _middle(self, low: Tensor, high: Tensor) -> Tensor:
        middle = (low + high) / 2.0
        return ops.maximum(ops.floor(middle), 1.0) if self._counts else middle

    @property
    def _counts(self) -> bool:
        return isinstance(self.threat, L0)

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        inner: Any = self._inner()
        own = {name.removeprefix(INNER): v for name, v in state.items() if name.startswith(INNER)}
        eps, run = state["eps"], state["run"]
        new, hit = inner.step(self._task(task, eps, run), {**own, "k": state["round"]})
        seen = self.update_best(task, state, own[inner.offers], hit)
        found = seen["best_norm"] < state["best_norm"]
        over = ops.logical_or(found, state["round"] >= inner.rounds)
        high = ops.where(found, seen["best_norm"], state["high"])
        low = ops.where(ops.logical_and(over, ops.logical_not(found)), eps, state["low"])
        run = run + ops.cast(over, "int32")
        eps = ops.where(over, self._middle(low, high), eps)
        walk = {name: new[name.removeprefix(INNER)] for name in state if name.startswith(INNER)}
        walk = update_rows(over, lambda: self._first(task, eps, run), walk)
        search = {"low": low, "high": high, "eps": eps, "run": run}
        finished = run >= self.searches
        if self._counts:
            finished = ops.logical_or(finished, high - low <= 1.0)
        return {**seen, **search, **walk, "round": ops.where(over, 0, state["round"] + 1)}, finished


INNER = "inner_"
"""What the entries of the inner attack's state are called, before their own names."""


preset(
    "pgd_l0",
    SmallestBall(threat=L0(), attack=PGD(steps=100, step_size=2.0, restarts=5)),
    note="""PGD_0 with the steps and restarts of the authors' script; theirs takes steps of a fixed length and
    one eps, which it is run at again and again.""",
)
