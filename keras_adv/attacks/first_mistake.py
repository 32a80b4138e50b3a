"""What attacks that see decisions only share: how they find a first mistake, and their random directions."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.backend import where_rows

SEARCH, BLEND, FOUND = 0, 1, 2
"""Phases: looks for noise that is a mistake, blends it with x, has a mistake to go on from."""
DRAWS, BLENDS = 1000, 50
"""Noise images tried for a mistake; steps of the blend from x towards the first that is one."""


def noise_image(seeds: Tensor, t: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Query t of the search, (B, *shape): uniform pixels, and every other time uniform blocks: a net often
    puts all of one kind into one class."""
    height, width, channels = shape
    side = max(2, min(height, width) // 7)
    blocks = noise.uniform(seeds, (-(-height // side), -(-width // side), channels))
    blocks = ops.repeat(ops.repeat(blocks, side, axis=1), side, axis=2)[:, :height, :width]
    pixels = noise.uniform(seeds, shape)
    return where_rows(t % 2 == 0, pixels, blocks)


def share_of_noise(t: Tensor) -> Tensor:
    """(B,) how far from x to the noise query t of the blend is."""
    return ops.cast(t + 1, "float32") / BLENDS


def after_query(phase: Tensor, t: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Phase and query of that phase after query t, which was a mistake where `hit`; and whether no noise was
    one. All (B,). What is FOUND stays so, and its t counts on."""
    blended = ops.logical_and(phase == BLEND, t + 1 >= BLENDS)
    ahead = ops.logical_and(phase < FOUND, ops.logical_or(hit, blended))
    phase, t = ops.where(ahead, phase + 1, phase), ops.where(ahead, 0, t + 1)
    return phase, t, ops.logical_and(phase == SEARCH, t >= DRAWS)


def direction(seeds: Tensor, count: int) -> Tensor:
    """(B, count) independent, of mean 0, length about 1: bytes, four from each 32 bits of a stream.

    Drawing normal numbers takes as long as a small net's pass, and in so many dimensions their directions
    are distributed almost alike.
    """
    words = noise.fold(seeds[:, None], ops.arange(1, -(-count // 4) + 1, dtype="int32")[None, :])
    values = ops.cast(ops.view(words, "uint8"), "float32") - 127.5
    return values[:, :count] / math.sqrt(count * (256**2 - 1) / 12)
