"""Square attack in l2 and l1: mounds, which take the unused part of eps and what a second window gives up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_adv import noise
from keras_adv.arrays import TINY, Tensor, expand_like, l2_norm
from keras_adv.attacks.square.windows import Sides, inside, offsets, side_now, signs
from keras_adv.threats import L1


class Mounds(NamedTuple):
    """The two norms: their order p, and how fast a mound falls.

    l2 is Alg. 3 of arXiv:1912.00049. l1 is the attack of arXiv:2103.01208 as its authors' code has it: the
    mounds fall faster, the window is given C times the budget (C channels), and the exact projection on ball
    and box takes away what is too much, from the smallest changes first.
    """

    order: int
    decay: int

    def mass(self, values: Tensor) -> Tensor:
        """(B, 1, 1, C) sums of |v|^p of the channels."""
        size = ops.square(values) if self.order == 2 else ops.abs(values)
        return ops.sum(size, axis=(1, 2), keepdims=True)

    def length(self, mass: Tensor) -> Tensor:
        """The norm whose p-th power `mass` is."""
        return ops.sqrt(mass) if self.order == 2 else mass

    def eta(self, side: int) -> np.ndarray:
        """(side, side), |.|_p = 1: one mound up over one down (arXiv:1912.00049, eq. 2 and fig. 3)."""
        up, down = side // 2, side - side // 2
        return self._scaled(np.concatenate([self._mound(up, side), -self._mound(down, side)]))

    def _mound(self, height: int, width: int) -> np.ndarray:
        """(height, width), |.|_p = 1: sum of (n + 1)^-decay over the squares of radius n that hold the
        pixel."""
        middle = height // 2, width // 2
        down, right = (np.abs(np.arange(n) - m) for n, m in zip((height, width), middle, strict=True))
        level = np.cumsum(1.0 / np.arange(max(middle) + 1, 0, -1) ** self.decay)[::-1]
        return self._scaled(level[np.maximum(down[:, None], right[None, :])])

    def _scaled(self, made: np.ndarray) -> np.ndarray:
        return made / (np.abs(made) ** self.order).sum() ** (1 / self.order) if made.size else made

    def _turned(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        return self.eta(side), self.eta(side).T

    def _table(self, sides: list[int]) -> np.ndarray:
        """Flat table of every side's eta, upright and lying: entry ((n 2 + lying) S + row) S + column, S the
        longest; 0."""
        table = np.zeros((len(sides), 2, max(sides), max(sides)), "float32")
        for n, side in enumerate(sides):
            table[n, :, :side, :side] = self._turned(side)
        return np.append(table.reshape(-1), np.float32(0.0))

    def _tiles(self, x: Tensor, seeds: Tensor) -> Tensor:
        """(B, H, W, C) a grid of etas of random sign and orientation."""
        (height, width, channels), side = x.shape[1:], max(min(x.shape[1:3]) // 5, 1)
        down, right = height // side, width // side
        drawn = noise.uniform(seeds, (down, right, channels + 1))
        drawn = ops.repeat(ops.repeat(drawn, side, axis=1), side, axis=2)
        upright, lying = (
            ops.convert_to_tensor(np.tile(m, (down, right))[:, :, None], "float32")
            for m in self._turned(side)
        )
        made = signs(drawn[..., 1:]) * ops.where(drawn[..., :1] < 0.5, upright, lying)
        left_over = [
            (0, 0),
            *(((n % side) // 2, n % side - (n % side) // 2) for n in (height, width)),
            (0, 0),
        ]
        return ops.pad(made, left_over)

    def first(self, x: Tensor, eps: Tensor, seeds: Tensor) -> Tensor:
        """The images to start from."""
        made = self._tiles(x, seeds)
        if self.order == 1:
            return L1().project(x + made, x, eps)
        made = made / expand_like(ops.maximum(l2_norm(made), TINY), made)
        return ops.clip(x + expand_like(eps, x) * made, 0.0, 1.0)

    def redrawn(
        self, x: Tensor, best: Tensor, eps: Tensor, seeds: Tensor, halvings: Tensor, sides: Sides
    ) -> Tensor:
        """`best` with a mound added in one random window and another window set back to x."""
        channels, odd = x.shape[3], [min(side | 1, min(x.shape[1:3])) for side in sides(x, 3)]
        drawn = noise.uniform(seeds, (5 + channels,))
        side = side_now(odd, halvings)
        down, right = offsets(drawn, side, x)
        first, second = inside(down, right, side), inside(*offsets(drawn[:, 2:], side, x), side)
        table = self._table(odd)
        row = (halvings * 2 + ops.cast(drawn[:, 4] < 0.5, "int32")) * max(odd)
        entry = ops.where(first[..., 0], (row[:, None, None] + down) * max(odd) + right, len(table) - 1)
        bump = (
            ops.take(ops.convert_to_tensor(table), entry)[..., None] * signs(drawn[:, 5:])[:, None, None, :]
        )
        delta = best - x
        old = ops.where(first, delta, 0.0)
        way = bump + old / ops.maximum(self.length(self.mass(old)), TINY)
        moved = way * (
            self._budget(delta, eps, first, second) / ops.maximum(self.length(self.mass(way)), TINY)
        )
        new = x + ops.where(first, moved, ops.where(second, 0.0, delta))
        return L1().project(new, x, eps) if self.order == 1 else ops.clip(new, 0.0, 1.0)

    def _budget(self, delta: Tensor, eps: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """(B, 1, 1, C) the length that the first window's new change gets."""
        given = self.mass(ops.where(ops.logical_or(first, second), delta, 0.0))
        limit = eps * (1.0 - 1e-6)
        limit = ops.square(limit) if self.order == 2 else limit
        unused = ops.maximum(limit - ops.sum(self.mass(delta), axis=(1, 2, 3)), 0.0)
        # in l2 the whole change then has length eps: no need to scale
        shared = given + expand_like(unused, delta) / delta.shape[3]
        return self.length(shared) * (1 if self.order == 2 else delta.shape[3])
