"""Fast adaptive boundary attack."""

from __future__ import annotations

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like, flatten
from keras_adv.attacks.base import Passes, State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.losses import pick, wrong_classes
from keras_adv.numerics.linearise import logit_differences, nearest_class
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import require_norm

RADIUS = {"linf": 0.3, "l2": 1.0, "l1": 5.0}
"""Of the ball for random starts where there is no eps."""


@register("attack", "fab")
class FAB(MinimalAttack):
    """Projections on the linearised boundary, biased towards x (Croce & Hein, Algorithm 1).

    v <- (1 - a) (v + eta d) + a (x + eta d_x), d and d_x the ways from v and from x to the hyperplane within
    the box, a = min(|d| / (|d| + |d_x|), alpha_max); on a mistake, which is noted, v <- x + beta (v - x).

    Args:
        threat: linf, l2 or l1; with an eps, random starts are drawn at most eps / 2 away.
        steps: steps of one run.
        restarts: runs for each class; all but the first from a random start around x.
        targets: 0: each step to the nearest boundary. n: the boundaries to the n most likely wrong classes in
            turn (FAB-T; AutoAttack takes 9), at one gradient a step. Any mistake counts either way.
        alpha_max: largest weight of x.
        eta: overshoot.
        beta: how much of the way from x is kept after a mistake.
        inside: leave an image once its mistake is within eps.

    Cost: steps x restarts x max(targets, 1) rounds of a forward pass and K gradients, or one gradient with
    `targets` or where a class is to be reached.
    """

    reference = "arXiv:1907.02044"
    targetable = True
    threat: Threat = option(default=Linf())
    steps: int = option(default=100, low=1)
    restarts: int = option(default=1, low=1)
    targets: int = option(default=0, low=0)
    alpha_max: float = option(default=0.1, above=0.0, high=1.0)
    eta: float = option(default=1.05, low=1.0)
    beta: float = option(default=0.9, above=0.0, high=1.0)
    inside: bool = option(default=False)

    def check(self) -> None:
        require_norm(self.threat, "linf", "l2", "l1")

    @property
    def rounds(self) -> int:
        return self.steps * self.restarts * max(self.targets, 1)

    @property
    def passes_per_round(self) -> Passes:
        return {"gradient" if self.targets else "jacobian": 1, "forward": 1}

    @property
    def passes_at_start(self) -> Passes:
        return {"forward": int(self.targets > 0)}

    def start(self, task: Task) -> State:
        if self.inside:
            self.threat.radius(task.eps)
        state = {**self.no_best_yet(task), "x": task.x}
        if self.targets and task.target is None:
            state["classes"] = wrong_classes(task.logits(task.x), task.y)[:, : self.targets]
        return state

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now, k = task.x, state["x"], state["k"]
        gap, w = self._boundary(task, state)
        tried = self._towards(x, now, gap, w)
        hit = task.fooled(task.logits(tried))
        seen = self.update_best(task, state, tried, hit)
        new = where_rows(hit, x + self.beta * (tried - x), tried)
        over = (k + 1) % self.steps == 0
        new = update_rows(over, lambda: self._first_point(task, k + 1, seen["best_norm"]), new)
        runs = self.restarts * (state["classes"].shape[1] if "classes" in state else 1)
        finished = k + 1 >= self.steps * runs
        if self.inside:
            finished = ops.logical_or(finished, seen["best_norm"] <= task.eps)
        return {**state, **seen, "x": new}, finished

    def _boundary(self, task: Task, state: State) -> tuple[Tensor, Tensor]:
        """(f (B,), its gradient) at state["x"]; f = 0 is the boundary to cross."""
        now = state["x"]
        if task.target is not None:
            m, _, w = value_and_grad(lambda v: (task.margin(task.logits(v)), ()), now)
            return m, w
        if "classes" not in state:
            _, gaps, slopes = logit_differences(task.logits, now, task.y)
            j = nearest_class(self.threat, task.y, gaps, slopes)
            return pick(gaps, j), pick(slopes, j)
        classes = state["classes"]
        number = ops.minimum(state["k"] // (self.steps * self.restarts), classes.shape[1] - 1)
        aim = pick(classes, number)

        def lead(v: Tensor) -> tuple[Tensor, tuple[()]]:
            z = task.logits(v)
            return pick(z, aim) - pick(z, task.y), ()

        f, _, w = value_and_grad(lead, now)
        return f, w

    def _towards(self, x: Tensor, now: Tensor, gap: Tensor, w: Tensor) -> Tensor:
        """The next image: over the hyperplane, from `now` and a little from x."""
        b = ops.sum(flatten(w * now), axis=1) - gap
        both = ops.concatenate([now, x], axis=0)
        ways = (
            self.threat.project_to_plane(
                both, ops.concatenate([w, w], axis=0), ops.concatenate([b, b], axis=0)
            )
            - both
        )
        lengths = ops.maximum(self.threat.norm(ways), 1e-8)
        (d, d_x), (a, a_x) = ops.split(ways, 2, axis=0), ops.split(lengths, 2, axis=0)
        bias = expand_like(ops.minimum(a / (a + a_x), self.alpha_max), x)
        return ops.clip((1.0 - bias) * (now + self.eta * d) + bias * (x + self.eta * d_x), 0.0, 1.0)

    def _first_point(self, task: Task, k: Tensor, best: Tensor) -> Tensor:
        """Where the runs that begin at round k start: at x, or at random in a ball of half the radius, or
        half of the best norm so far, around it."""
        x = task.x
        if self.restarts == 1:
            return x
        afresh = k // self.steps % self.restarts > 0
        radius = ops.minimum(best, RADIUS[self.threat.name] if task.eps is None else task.eps) / 2.0
        return where_rows(afresh, self.threat.sample(x, noise.fold(task.seeds, k), radius), x)
