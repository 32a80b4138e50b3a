"""Square attack: random search with square windows, from scores alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm
from keras_adv.attacks.base import State
from keras_adv.attacks.contracts import BoundedAttack
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import require_norm

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Of 10000 queries, those after which the share of the image that a window covers is halved."""


@register("attack", "square")
class Square(BoundedAttack):
    """Square attack (Andriushchenko et al., arXiv:1912.00049): random search on the margin of the logits.

    x' = P(best with the change of a random window redrawn); best <- x' where its margin is larger. P is the
    projection on ball and box. The window is a square of side sqrt(share H W).

    linf (Alg. 2): starts from vertical stripes of +-eps; each channel of the window becomes x + eps or x -
    eps, drawn; the opposite sign where that would change nothing. l2 (Alg. 3): starts from a grid of tiles;
    a second window is set back to x; its length and the unused part of eps go to the first window, along its
    old change plus the paper's eta, of random sign and orientation.

    Args:
        threat: linf or l2, with an eps.
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
        x = task.x
        first = x + expand_like(task.eps, x) * WINDOWS[self.threat.name].first(x, noise.fold(task.seeds, 0))
        lowest = ops.full_like(x[:, 0, 0, 0], -1e30)
        return {"x": ops.clip(first, 0.0, 1.0), "best": x, "margin": lowest}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, now, k = task.x, state["x"], state["k"]
        z = task.logits(now)
        margin = task.margin(z)
        better = margin > state["margin"]
        best = where_rows(better, now, state["best"])
        new = WINDOWS[self.threat.name].next(
            x, best, task.eps, noise.fold(task.seeds, k + 1), self._halvings(k), self
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


def _signs(drawn: Tensor) -> Tensor:
    return ops.where(drawn < 0.5, -1.0, 1.0)


def _corner(drawn: Tensor, room: Tensor) -> Tensor:
    """(B,) int32, uniform in 0..room; `drawn` in [0, 1)."""
    return ops.minimum(ops.cast(drawn * ops.cast(room + 1, "float32"), "int32"), room)


def _offsets(drawn: Tensor, side: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Row (B, H, 1) and column (B, 1, W) of each pixel, counted from the corner of a random window."""
    height, width = x.shape[1:3]
    top, left = _corner(drawn[:, 0], height - side), _corner(drawn[:, 1], width - side)
    down = ops.arange(height, dtype="int32")[None, :] - top[:, None]
    right = ops.arange(width, dtype="int32")[None, :] - left[:, None]
    return down[:, :, None], right[:, None, :]


def _inside(down: Tensor, right: Tensor, side: Tensor) -> Tensor:
    """(B, H, W, 1) bool: the pixels of the window."""
    side = side[:, None, None]
    in_rows, in_columns = (ops.logical_and(v >= 0, v < side) for v in (down, right))
    return ops.logical_and(in_rows, in_columns)[:, :, :, None]


# -- linf ------------------------------------------------------------------------------------------
def _stripes(x: Tensor, seeds: Tensor) -> Tensor:
    return ops.zeros_like(x) + _signs(noise.uniform(seeds, (1, *x.shape[2:])))


def _square(x: Tensor, best: Tensor, eps: Tensor, seeds: Tensor, halvings: Tensor, attack: Square) -> Tensor:
    drawn = noise.uniform(seeds, (2 + x.shape[3],))
    side = ops.take(ops.convert_to_tensor(np.array(attack.sides(x, 1), "int32")), halvings)
    window = _inside(*_offsets(drawn, side, x), side)
    change = eps[:, None] * _signs(drawn[:, 2:])

    def moved(change: Tensor) -> Tensor:
        return ops.where(window, ops.clip(x + change[:, None, None, :], 0.0, 1.0), best)

    new = moved(change)
    same = ops.max(ops.abs(new - best), axis=(1, 2, 3)) < 1e-6  # else up to half the queries were in vain
    return where_rows(same, moved(-change), new)


# -- l2 --------------------------------------------------------------------------------------------
def _mound(height: int, width: int) -> np.ndarray:
    """(height, width), |.|_2 = 1: sum of 1 / (n + 1)^2 over the squares of radius n that hold the pixel."""
    middle = height // 2, width // 2
    down, right = (np.abs(np.arange(n) - m) for n, m in zip((height, width), middle, strict=True))
    level = np.cumsum(1.0 / np.arange(max(middle) + 1, 0, -1) ** 2)[::-1]
    made = level[np.maximum(down[:, None], right[None, :])]
    return made / np.sqrt(np.square(made).sum()) if made.size else made


def eta(side: int) -> np.ndarray:
    """(side, side), |.|_2 = 1: one mound up over one down (arXiv:1912.00049, eq. 2 and fig. 3)."""
    made = np.concatenate([_mound(side // 2, side), -_mound(side - side // 2, side)])
    return made / np.sqrt(np.square(made).sum())


def _tiles(x: Tensor, seeds: Tensor) -> Tensor:
    (height, width, channels), side = x.shape[1:], max(min(x.shape[1:3]) // 5, 1)
    down, right = height // side, width // side
    drawn = noise.uniform(seeds, (down, right, channels + 1))
    drawn = ops.repeat(ops.repeat(drawn, side, axis=1), side, axis=2)
    upright, lying = (
        ops.convert_to_tensor(np.tile(m, (down, right))[:, :, None], "float32") for m in _turned(side)
    )
    made = _signs(drawn[..., 1:]) * ops.where(drawn[..., :1] < 0.5, upright, lying)
    left_over = [(0, 0), *(((n % side) // 2, n % side - (n % side) // 2) for n in (height, width)), (0, 0)]
    made = ops.pad(made, left_over)
    return made / expand_like(ops.maximum(l2_norm(made), TINY), made)


def _turned(side: int) -> tuple[np.ndarray, np.ndarray]:
    return eta(side), eta(side).T


def _etas(sides: list[int]) -> np.ndarray:
    """Flat table of every side's eta, upright and lying: entry ((n 2 + lying) S + row) S + column, S the
    longest; 0."""
    table = np.zeros((len(sides), 2, max(sides), max(sides)), "float32")
    for n, side in enumerate(sides):
        table[n, :, :side, :side] = _turned(side)
    return np.append(table.reshape(-1), np.float32(0.0))


def _power(values: Tensor) -> Tensor:
    """(B, 1, 1, C) sums of squares of the channels."""
    return ops.sum(ops.square(values), axis=(1, 2), keepdims=True)


def _windows(x: Tensor, best: Tensor, eps: Tensor, seeds: Tensor, halvings: Tensor, attack: Square) -> Tensor:
    channels, sides = x.shape[3], [min(side | 1, min(x.shape[1:3])) for side in attack.sides(x, 3)]
    drawn = noise.uniform(seeds, (5 + channels,))
    side = ops.take(ops.convert_to_tensor(np.array(sides, "int32")), halvings)
    down, right = _offsets(drawn, side, x)
    first, second = _inside(down, right, side), _inside(*_offsets(drawn[:, 2:], side, x), side)
    table = _etas(sides)
    row = (halvings * 2 + ops.cast(drawn[:, 4] < 0.5, "int32")) * max(sides)
    entry = ops.where(first[..., 0], (row[:, None, None] + down) * max(sides) + right, len(table) - 1)
    bump = ops.take(ops.convert_to_tensor(table), entry)[..., None] * _signs(drawn[:, 5:])[:, None, None, :]
    delta = best - x
    old = ops.where(first, delta, 0.0)
    way = bump + old / ops.maximum(ops.sqrt(_power(old)), TINY)
    given = _power(ops.where(ops.logical_or(first, second), delta, 0.0))
    unused = ops.square(eps * (1.0 - 1e-6)) - ops.sum(_power(delta), axis=(1, 2, 3))
    budget = (
        given + expand_like(ops.maximum(unused, 0.0), x) / channels
    )  # so the new change has length eps: no need to scale
    moved = way * (ops.sqrt(budget) / ops.maximum(ops.sqrt(_power(way)), TINY))
    return ops.clip(x + ops.where(first, moved, ops.where(second, 0.0, delta)), 0.0, 1.0)


class Windows(NamedTuple):
    """What a norm makes of the attack: the first change, in units of eps, and the next image."""

    first: Callable[[Tensor, Tensor], Tensor]
    next: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Square], Tensor]


WINDOWS = {"linf": Windows(_stripes, _square), "l2": Windows(_tiles, _windows)}
