"""HopSkipJump attack: the gradient at the decision boundary, estimated from decisions alone."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm, zeros_per_image
from keras_adv.attacks.base import State
from keras_adv.attacks.brendel_bethge.step import halfway
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.first_mistake import (
    BLEND,
    FOUND,
    SEARCH,
    after_query,
    direction,
    noise_image,
    share_of_noise,
)
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm

BISECT, ESTIMATE, STEP = FOUND, FOUND + 1, FOUND + 2
"""Phases: back to the boundary, the direction from there, the length of the step along it."""
FIRST_DELTA = 0.1
"""Length of the draws at the first boundary point, whose distance still says little."""
FINEST_DELTA, FINEST_HALVING = 4e-6, 20
"""What float32 resolves: the length of a draw for each root of a value, the halvings of a bisection."""
STEP_HALVINGS = 15
"""Lengths tried of a step, each half of the one before; then the image stays where it is."""
LAST_STEP = 3
"""Queries that an estimate leaves at the end of the run for the step, besides the bisection."""


@register("attack", "hop_skip_jump")
class HopSkipJump(MinimalAttack):
    """HopSkipJump (Chen et al., arXiv:1904.02144, Algorithm 2): steps along a gradient made of decisions.

    At the boundary point x_t, the t-th, with distance d = norm(x_t - x): v = sum_b (phi_b - mean phi) u_b,
    where u_b = (clip(x_t + delta u) - x_t) / delta for random u of length about 1, and phi_b = 1 where that
    image is a mistake, else -1; sqrt(t) initial of them. Then x_t + xi v / |v|_2 (linf: sign v), xi = d /
    sqrt(t), halved until it is a mistake; then bisections between that and x, in the manner of the norm, to
    theta = gamma D^-1.5 (linf: D^-2) of the way, D values an image. delta = gamma d / D, 0.1 at first.
    Float32 sets limits to both: delta >= 4e-6 sqrt(D), and at most 20 bisections.

    The start is that of the boundary attack. The last estimate is cut so that its step can still be taken.

    Args:
        threat: l2 or linf; its eps, if any, is where the robust accuracy is reported.
        steps: queries in all. The start takes at most 1050 of them, mostly about 20.
        initial: queries of the first estimate, B_0.
        gamma: of theta and delta.

    Cost: steps forward passes; 1000 where no noise is a mistake.
    """

    reference = "arXiv:1904.02144"
    knowledge = "decisions"
    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=25000, low=1)
    initial: int = option(default=100, low=1)
    gamma: float = option(default=1.0, above=0.0)

    def check(self) -> None:
        require_norm(self.threat, "l2", "linf")

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        x, none, zero = task.x, ops.zeros_like(task.y), zeros_per_image(task.x)
        return {
            **self.no_best_yet(task),
            "point": x,  # the mistake to go on from; after a bisection x_t
            "v": ops.zeros_like(x),  # sum of phi u; after the estimate the direction of the step
            "u": ops.zeros_like(x),  # sum of u
            "mistakes": zero,  # of the estimate
            "low": zero,
            "high": zero,
            "d": zero,
            "phase": none,
            "t": none,
            "estimates": none,
        }

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        phase, t, delta = state["phase"], state["t"], self._delta(state, task.x)
        tried = self._next(task, state, delta)
        hit = task.fooled(task.logits(tried))
        last = self._is_last(state, task.x, hit)
        moves = ops.logical_and(hit, ops.logical_or(phase < FOUND, phase == STEP))
        new = {**state, **self.update_best(task, state, tried, hit)}
        new["point"] = where_rows(moves, tried, state["point"])
        searched, count, nowhere = after_query(phase, t, hit)
        walked = ops.where(last, ops.where(phase == STEP, BISECT, phase + 1), phase)
        new["phase"] = ops.where(phase < FOUND, searched, walked)
        new["t"] = ops.where(ops.logical_and(phase >= FOUND, last), 0, count)
        new |= self._bisected(task, state, new, hit, last)
        return {**new, **self._estimated(state, tried, delta, hit, last)}, nowhere

    def _bisections(self, x: Tensor) -> int:
        power = 2.0 if self.threat.name == "linf" else 1.5
        wanted = math.ceil(power * math.log2(math.prod(x.shape[1:])) - math.log2(self.gamma))
        return min(max(wanted, 1), FINEST_HALVING)

    def _delta(self, state: State, x: Tensor) -> Tensor:
        """(B,) how far from the boundary point the draws of an estimate are."""
        values = math.prod(x.shape[1:])
        later = ops.maximum(self.gamma / values * state["d"], FINEST_DELTA * math.sqrt(values))
        return ops.where(state["estimates"] <= 1, FIRST_DELTA, later)

    def _next(self, task: Task, state: State, delta: Tensor) -> Tensor:
        """The image of the next query."""
        x, point, phase, t = task.x, state["point"], state["phase"], state["t"]
        seeds, shape = noise.fold(task.seeds, state["k"]), tuple(x.shape[1:])
        u = ops.reshape(direction(seeds, math.prod(shape)), ops.shape(x))
        number = ops.cast(ops.maximum(state["estimates"], 1), "float32")
        xi = state["d"] * ops.rsqrt(number) * ops.power(0.5, ops.cast(t, "float32"))
        steps = phase == STEP
        shift = expand_like(ops.where(steps, xi, delta), x) * where_rows(steps, state["v"], u)
        walked = ops.clip(point + shift, 0.0, 1.0)
        middle = (state["low"] + state["high"]) / 2
        walked = update_rows(phase == BISECT, lambda: halfway(self.threat, x, point, middle), walked)

        def first() -> Tensor:
            blend = x + expand_like(share_of_noise(t), x) * (point - x)
            return where_rows(phase == SEARCH, noise_image(seeds, t, shape), ops.clip(blend, 0.0, 1.0))

        return update_rows(phase <= BLEND, first, walked)

    def _is_last(self, state: State, x: Tensor, hit: Tensor) -> Tensor:
        """(B,) bool: whether this query is the last of its bisection, estimate or step."""
        phase, count = state["phase"], state["t"] + 1
        size = self.initial * ops.sqrt(ops.cast(state["estimates"], "float32"))
        out_of_queries = state["k"] + 1 >= self.steps - self._bisections(x) - LAST_STEP
        estimated = ops.logical_or(ops.cast(count, "float32") >= ops.floor(size), out_of_queries)
        stepped = ops.logical_or(hit, count >= STEP_HALVINGS)
        last = ops.where(phase == ESTIMATE, estimated, stepped)
        return ops.where(phase == BISECT, count >= self._bisections(x), last)

    def _bisected(self, task: Task, state: State, new: State, hit: Tensor, last: Tensor) -> State:
        """The point, its distance, and the ends of the bisection between it and x, after one more query."""
        bisects = state["phase"] == BISECT
        middle = (state["low"] + state["high"]) / 2
        low = ops.where(ops.logical_and(bisects, ops.logical_not(hit)), middle, state["low"])
        high = ops.where(ops.logical_and(bisects, hit), middle, state["high"])
        ends, begins = ops.logical_and(bisects, last), ops.logical_and(new["phase"] == BISECT, new["t"] == 0)
        changes = ops.logical_or(ends, begins)

        def settled() -> tuple[Tensor, Tensor]:
            at_boundary = halfway(self.threat, task.x, new["point"], high)
            point = where_rows(ends, at_boundary, new["point"])
            return point, self.threat.norm(point - task.x)

        point, d = update_rows(changes, settled, (new["point"], state["d"]))
        top = d if self.threat.name == "linf" else ops.ones_like(d)
        return {
            "point": point,
            "d": d,
            "low": ops.where(begins, 0.0, low),
            "high": ops.where(begins, top, high),
            "estimates": ops.where(ends, state["estimates"] + 1, state["estimates"]),
        }

    def _estimated(self, state: State, tried: Tensor, delta: Tensor, hit: Tensor, last: Tensor) -> State:
        """The sums of the estimate after one more query; after its last the direction of the step."""
        estimates = state["phase"] == ESTIMATE
        kept = ops.where(state["t"] > 0, 1.0, 0.0)  # at its first query the sums begin anew
        mistakes = kept * state["mistakes"] + ops.cast(hit, "float32")

        def added() -> tuple[Tensor, Tensor]:
            u = (tried - state["point"]) / expand_like(delta, tried)
            keep, phi = (expand_like(f, u) for f in (kept, ops.where(hit, 1.0, -1.0)))
            return keep * state["v"] + phi * u, keep * state["u"] + u

        v, total = update_rows(estimates, added, (state["v"], state["u"]))

        def along() -> Tensor:
            share = mistakes / ops.cast(state["t"] + 1, "float32")
            mixed = ops.logical_and(share > 0.0, share < 1.0)  # of decisions all alike the mean says all
            centred = v - expand_like(ops.where(mixed, 2.0 * share - 1.0, 0.0), v) * total
            if self.threat.name == "linf":
                return ops.sign(centred)
            return centred / expand_like(ops.maximum(l2_norm(centred), TINY), v)

        v = update_rows(ops.logical_and(estimates, last), along, v)
        return {"v": v, "u": total, "mistakes": mistakes}
