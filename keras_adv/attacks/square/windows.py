"""Random windows of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from keras import ops

from keras_adv.arrays import Tensor

Sides = Callable[[Tensor, int], list[int]]
"""(images, the least side) -> the side of the window after 0, 1, ... halvings."""


class Windows(Protocol):
    """What a norm makes of the attack."""

    def first(self, x: Tensor, eps: Tensor, seeds: Tensor) -> Tensor:
        """The images to start from."""

    def redrawn(
        self, x: Tensor, best: Tensor, eps: Tensor, seeds: Tensor, halvings: Tensor, sides: Sides
    ) -> Tensor:
        """`best` with the change of a random window redrawn."""


def signs(drawn: Tensor) -> Tensor:
    """-1 or 1, from numbers in [0, 1)."""
    return ops.where(drawn < 0.5, -1.0, 1.0)


def side_now(sides: list[int], halvings: Tensor) -> Tensor:
    """(B,) int32 side of each image's window."""
    return ops.take(ops.convert_to_tensor(np.array(sides, "int32")), halvings)


def _corner(drawn: Tensor, room: Tensor) -> Tensor:
    """(B,) int32, uniform in 0..room; `drawn` in [0, 1)."""
    return ops.minimum(ops.cast(drawn * ops.cast(room + 1, "float32"), "int32"), room)


def offsets(drawn: Tensor, side: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Row (B, H, 1) and column (B, 1, W) of each pixel, counted from the corner of a random window."""
    height, width = x.shape[1:3]
    top, left = _corner(drawn[:, 0], height - side), _corner(drawn[:, 1], width - side)
    down = ops.arange(height, dtype="int32")[None, :] - top[:, None]
    right = ops.arange(width, dtype="int32")[None, :] - left[:, None]
    return down[:, :, None], right[:, None, :]


def inside(down: Tensor, right: Tensor, side: Tensor) -> Tensor:
    """(B, H, W, 1) bool: the pixels of the window."""
    side = side[:, None, None]
    in_rows, in_columns = (ops.logical_and(v >= 0, v < side) for v in (down, right))
    return ops.logical_and(in_rows, in_columns)[:, :, :, None]
