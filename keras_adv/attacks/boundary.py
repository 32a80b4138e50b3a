"""Boundary attack: a walk along the decision boundary, from decisions alone."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, flatten, zeros_per_image
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import MinimalAttack
from keras_adv.attacks.first_mistake import (
    FOUND,
    SEARCH,
    after_query,
    direction,
    noise_image,
    share_of_noise,
)
from keras_adv.attacks.task import Task
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import L2, Threat
from keras_adv.threats.base import require_norm

CYCLE = 11
"""Of so many queries of the walk one tests a point of the sphere."""
SPHERE, SOURCE = 10, 30
"""Queries after which the success on the sphere, and of the whole step, adapts the lengths."""
FACTOR, CONVERGED = 1.5, 1e-7
"""What a length is multiplied or divided by; the source length at which the walk ends."""


@register("attack", "boundary")
class Boundary(MinimalAttack):
    """Boundary attack (Brendel et al., arXiv:1712.04248): rejection sampling along the decision boundary.

    c = clip(x + (1 - source) (r + spherical |r| u) / sqrt(1 + spherical^2)), with x + r the nearest mistake
    so far and u a random unit direction orthogonal to r: first along the sphere, then towards x. The walk
    goes to c where c is a mistake. Both lengths adapt to each image: every 11th query has source = 0; of 10
    such, more than half mistakes: both lengths x 1.5, less than a fifth: / 1.5. Of 30 others, more than a
    quarter: source x 1.5, less than a tenth: / 1.5. (The paper's and Foolbox' 100 in place of 10 adapt too
    slowly: at 5000 queries the norm on MNIST is a quarter larger.)

    It starts at noise that is a mistake (of 1000 tries, pixels and blocks in turn), blended with x in 50
    steps.

    Args:
        threat: l2; its eps, if any, is where the robust accuracy is reported.
        steps: queries in all. The start takes at most 1050 of them, mostly about 20.
        spherical: first length of the step along the sphere, in units of |r|.
        source: first length of the step towards x, in units of |r|.

    Cost: steps forward passes; 1000 where no noise is a mistake, fewer where source falls below 1e-7.
    """

    reference = "arXiv:1712.04248"
    knowledge = "decisions"
    targetable = True
    threat: Threat = option(default=L2())
    steps: int = option(default=25000, low=1)
    spherical: float = option(default=0.01, above=0.0)
    source: float = option(default=0.01, above=0.0, high=1.0)

    def check(self) -> None:
        require_norm(self.threat, "l2")

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        none, zero = ops.zeros_like(task.y), zeros_per_image(task.x)
        lengths = {"spherical": zero + self.spherical, "source": zero + self.source}
        # of the queries on the sphere, then of the others: how many, how many mistakes
        counts = ops.stack([zero, zero, zero, zero], axis=1)
        return {**self.no_best_yet(task), **lengths, "counts": counts, "phase": none, "t": none}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        phase, t = state["phase"], state["t"]
        on_sphere = t % CYCLE == CYCLE - 1
        tried = self._next(task, state, on_sphere)
        hit = task.fooled(task.logits(tried))
        new = {**state, **self.update_best(task, state, tried, hit), **self._adapt(state, on_sphere, hit)}
        new["phase"], new["t"], nowhere = after_query(phase, t, hit)
        return new, ops.logical_or(nowhere, new["source"] < CONVERGED)

    def _next(self, task: Task, state: State, on_sphere: Tensor) -> Tensor:
        """The image of the next query: noise, a blend of noise and x, or a step of the walk."""
        x, seeds, walks = task.x, noise.fold(task.seeds, state["k"]), state["phase"] == FOUND
        r, u = flatten(state["best"] - x), direction(seeds, math.prod(x.shape[1:]))
        norm = ops.minimum(state["best_norm"], 1e15)
        along = ops.sum(u * r, axis=1) / ops.maximum(ops.square(norm), TINY)
        size = ops.sqrt(ops.maximum(1.0 - ops.square(along * norm), TINY))  # of u without its part along r
        spherical = state["spherical"]
        scale = ops.where(on_sphere, 1.0, 1.0 - state["source"]) / ops.sqrt(1.0 + ops.square(spherical))
        aside = ops.where(walks, scale * spherical * norm / size, 0.0)
        onward = ops.where(walks, scale - aside * along, share_of_noise(state["t"]))
        moved = ops.reshape(onward[:, None] * r + aside[:, None] * u, ops.shape(x))
        walked = ops.clip(x + moved, 0.0, 1.0)
        searches = state["phase"] == SEARCH
        return update_rows(searches, lambda: noise_image(seeds, state["t"], tuple(x.shape[1:])), walked)

    @staticmethod
    def _adapt(state: State, on_sphere: Tensor, hit: Tensor) -> State:
        """The lengths and counts after one more query."""
        walks, mistake = (ops.cast(v, "float32") for v in (state["phase"] == FOUND, hit))
        sphere = walks * ops.cast(on_sphere, "float32")
        whole = walks - sphere
        counts = state["counts"] + ops.stack([sphere, sphere * mistake, whole, whole * mistake], axis=1)
        tests, kept, tries, gained = (counts[:, n] for n in range(4))
        judged, settled = tests >= SPHERE, tries >= SOURCE
        both = _factor(kept / SPHERE, judged, 0.2, 0.5)
        source = both * _factor(gained / SOURCE, settled, 0.1, 0.25)
        over = ops.stack([judged, judged, settled, settled], axis=1)
        lengths = {
            "spherical": state["spherical"] * both,
            "source": ops.minimum(state["source"] * source, 0.9),
        }
        return {**lengths, "counts": ops.where(over, 0.0, counts)}


def _factor(rate: Tensor, judged: Tensor, low: float, high: float) -> Tensor:
    grown = ops.where(rate > high, FACTOR, ops.where(rate < low, 1.0 / FACTOR, 1.0))
    return ops.where(judged, grown, 1.0)
