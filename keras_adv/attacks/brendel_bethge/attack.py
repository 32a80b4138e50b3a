"""The attack of Brendel & Bethge."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like, zeros_per_image
from keras_adv.attacks.base import State
from keras_adv.attacks.brendel_bethge.step import advance, halfway
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import value_and_grad, where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat

BISECTIONS = 10
"""Between the clean image and the first adversarial one."""
SWEEP = 50
"""Steps of the blend from x to noise, and of the climb from noise that is no mistake."""


@register("attack", "brendel_bethge")
class BrendelBethge(MinimalAttack):
    """Follows the decision boundary from an adversarial image to the one nearest to x.

    x <- x + argmin_d norm(x + d - x0) over <b, d> = c, |d|_2 <= r and the box, where b is the gradient of the
    margin m, smoothed: b <- momentum b + (1 - momentum) grad m. c = -overshoot m where the image is still
    classified right, else -(2 - overshoot) m, so that the step ends a little beyond the boundary.

    It starts from uniform noise, blended with x in 50 steps until the class changes (noise that is classified
    as x climbs the margin from there), and 10 bisections between that image and x, in the manner of the norm.

    Args:
        threat: linf, l2, l1 or l0; its eps, if any, is where the robust accuracy is reported.
        steps: gradient steps along the boundary.
        lr: radius r of the trust region, in units of D, the number of values of an image.
        decay: what r is multiplied by, `decays` times over the run.
        decays: how often.
        overshoot: 1 aims at the boundary itself.
        momentum: share of the old b.

    Cost: steps + 10 forward-backward passes, and 1 to 50 more for the start (100 where noise does not help).
    """

    reference = "arXiv:1907.01003"
    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=1000, low=1)
    lr: float = option(default=0.05, above=0.0)
    decay: float = option(default=0.5, above=0.0, high=1.0)
    decays: int = option(default=20, low=1)
    overshoot: float = option(default=1.1, low=1.0, high=2.0)
    momentum: float = option(default=0.8, low=0.0, high=1.0)

    @property
    def rounds(self) -> int:
        return 2 * SWEEP + BISECTIONS + self.steps

    def start(self, task: Task) -> State:
        x = task.x
        zero = zeros_per_image(x)
        far = noise.uniform(noise.fold(task.seeds, 1), tuple(x.shape[1:]))
        return {
            **self.no_best_yet(task),
            "x": x + (far - x) / SWEEP,
            "far": far,  # on the walk, which needs no far image any more: the smoothed gradient b
            "low": zero,
            "high": zero + 1.0,
            "last": ops.stack([zero, zero], axis=1),
            "n": ops.zeros_like(task.y),  # rounds since the first adversarial image; 0 before it
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        now, n = state["x"], state["n"]
        m, z, g = value_and_grad(lambda v: self._margin(task, v), now)
        m = m - 2e-6 * ops.max(ops.abs(z), axis=1)  # so that rounding does not undo a mistake
        hit = ops.logical_and(task.fooled(z), m > 0)
        seen = self.update_best(task, state, now, hit)
        found, walking = ops.logical_or(n > 0, hit), n > BISECTIONS
        own = {name: state[name] for name in ("x", "far", "low", "high", "last")}
        # a walking step costs more than the rest of a round: it is left out of rounds in which no image walks
        walked = ops.cond(ops.any(walking), lambda: self._walk(task, state, g, m), lambda: own)

        def not_walking_yet() -> State:
            tried, halved = self._search(task, state, g), self._halve(task, state, hit)
            return {**walked, **{name: where_rows(found, halved[name], v) for name, v in tried.items()}}

        new = update_rows(ops.logical_not(walking), not_walking_yet, walked)
        n = ops.where(found, n + 1, n)
        lost = ops.logical_and(n == 0, state["k"] + 1 >= 2 * SWEEP)
        return {**seen, **new, "n": n}, ops.logical_or(lost, n > self.steps + BISECTIONS + 1)

    def _margin(self, task: Task, v: Tensor) -> tuple[Tensor, Tensor]:
        z = task.logits(v)
        return task.margin(z), z

    def _search(self, task: Task, state: State, g: Tensor) -> State:
        """The next image to look at before any is adversarial: more noise, then uphill from it."""
        share = ops.minimum((ops.cast(state["k"], "float32") + 2.0) / SWEEP, 1.0)
        blend = task.x + expand_like(share, g) * (state["far"] - task.x)
        uphill = ops.clip(state["x"] + 0.05 * ops.sign(g), 0.0, 1.0)
        x = where_rows(state["k"] + 2 <= SWEEP, blend, uphill)
        return {"x": x, "far": state["far"], "low": state["low"], "high": state["high"]}

    def _halve(self, task: Task, state: State, hit: Tensor) -> State:
        """Between x and the first adversarial image; after the last bisection the upper end."""
        n = state["n"]
        far = where_rows(n == 0, state["x"], state["far"])
        middle = (state["low"] + state["high"]) / 2
        tried = n > 0
        low = ops.where(ops.logical_and(tried, ops.logical_not(hit)), middle, state["low"])
        high = ops.where(ops.logical_and(tried, hit), middle, state["high"])
        share = ops.where(n >= BISECTIONS, high, (low + high) / 2)
        return {"x": halfway(self.threat, task.x, far, share), "far": far, "low": low, "high": high}

    def _walk(self, task: Task, state: State, g: Tensor, m: Tensor) -> State:
        """A step along the boundary."""
        number = state["n"] - BISECTIONS  # 1 at the first step
        kept = ops.where(number > 1, self.momentum, 0.0)
        b = expand_like(kept, g) * state["far"] + expand_like(1.0 - kept, g) * g
        falls = ops.floor((ops.cast(number, "float32") + 1.0) / max(1, self.steps // self.decays))
        r = self.lr * math.prod(g.shape[1:]) * ops.power(self.decay, falls)
        c = -ops.where(m < 0, self.overshoot, 2.0 - self.overshoot) * m
        x, last = advance(self.threat, task.x, state["x"], b, c, r, state["last"])
        return {"x": x, "far": b, "low": state["low"], "high": state["high"], "last": last}
