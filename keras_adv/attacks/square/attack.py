"""Square attack: random search with square windows, from scores alone."""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import BoundedAttack
from keras_adv.attacks.square import stripes
from keras_adv.attacks.square.mounds import Mounds
from keras_adv.attacks.square.windows import Windows
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import require_norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10000 queries, those after which the share of the image that a window covers is halved."""

WINDOWS: dict[str, Windows] = {
    "linf": stripes,
    "l2": Mounds(order=2, decay=2),
    "l1": Mounds(order=1, decay=4),
}
"""Norm -> its first images and its next ones."""


@register("attack", "square")
class Square(BoundedAttack):
    """Square attack (Andriushchenko et al., arXiv:1912.00049): random search on the margin of the logits.

    x' = P(best with the change of a random window redrawn); best <- x' where its margin is larger. P is the
    projection on ball and box. The window is a square of side sqrt(share H W).

    linf (Alg. 2): starts from vertical stripes of +-eps; each channel of the window becomes x + eps or x -
    eps, drawn; the opposite sign where that would change nothing. l2 (Alg. 3): starts from a grid of tiles;
    a second window is set back to x; its length and the unused part of eps go to the first window, along its
    old change plus the paper's eta, of random sign and orientation. l1 (Croce & Hein, arXiv:2103.01208): as
    l2, with a narrower eta and the exact projection.

    Args:
        threat: linf, l2 or l1, with an eps.
        steps: queries, the first image included.
        share: of the image that the first windows cover, p in the paper.
        rescale: the halvings of the share (`HALVINGS`) at the same parts of `steps` as of 10000 queries
            (the paper); else at the same counts (AutoAttack).

    Cost: steps forward passes, fewer for images that are fooled on the way.
    """

    reference = "arXiv:1912.00049"
    knowledge = "scores"
    targetable = True
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=5000, low=1)
    share: float = option(default=0.8, above=0.0, high=1.0)
    rescale: bool = option(default=False)

    def check(self) -> None:
        super().check()
        require_norm(self.threat, *WINDOWS)

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        first = WINDOWS[self.threat.name].first(task.x, task.eps, noise.fold(task.seeds, 0))
        lowest = ops.full_like(task.x[:, 0, 0, 0], -1e30)
        return {"x": first, "best": task.x, "margin": lowest}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now, k = task.x, state["x"], state["k"]
        z = task.logits(now)
        margin = task.margin(z)
        better = margin > state["margin"]
        best = where_rows(better, now, state["best"])
        new = WINDOWS[self.threat.name].redrawn(
            x, best, task.eps, noise.fold(task.seeds, k + 1), self._halvings(k), self.sides
        )
        # no query is left to judge a new image
        new = update_rows(k + 1 >= self.steps, lambda: best, new)
        return {"x": new, "best": best, "margin": ops.where(better, margin, state["margin"])}, task.fooled(z)

    def _halvings(self, k: Tensor) -> Tensor:
        """(B,) int32: how often the share has been halved before query k."""
        query = ops.cast(k, "float32") * (10000.0 / self.steps if self.rescale else 1.0)
        after = ops.convert_to_tensor(np.array(HALVINGS, "float32"))
        return ops.sum(ops.cast(ops.floor(query)[:, None] > after, "int32"), axis=1)

    def sides(self, x: Tensor, least: int) -> list[int]:
        """Side of the window after 0, 1, ... halvings."""
        area, largest = math.prod(x.shape[1:3]), min(x.shape[1:3])
        wanted = (round(math.sqrt(self.share / 2**n * area)) for n in range(len(HALVINGS) + 1))
        return [min(max(side, least), largest) for side in wanted]
