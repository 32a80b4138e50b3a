"""Square attack in linf: vertical stripes, then windows of one colour."""

from __future__ import annotations

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor, expand_like
from keras_adv.attacks.square.windows import Sides, inside, offsets, side_now, signs
from keras_adv.backend import where_rows


def first(x: Tensor, eps: Tensor, seeds: Tensor) -> Tensor:
    """The images to start from."""
    stripes = ops.zeros_like(x) + signs(noise.uniform(seeds, (1, *x.shape[2:])))
    return ops.clip(x + expand_like(eps, x) * stripes, 0.0, 1.0)


def redrawn(x: Tensor, best: Tensor, eps: Tensor, seeds: Tensor, halvings: Tensor, sides: Sides) -> Tensor:
    """`best` with the change of a random window redrawn."""
    drawn = noise.uniform(seeds, (2 + x.shape[3],))
    side = side_now(sides(x, 1), halvings)
    window = inside(*offsets(drawn, side, x), side)
    change = eps[:, None] * signs(drawn[:, 2:])

    def moved(change: Tensor) -> Tensor:
        return ops.where(window, ops.clip(x + change[:, None, None, :], 0.0, 1.0), best)

    new = moved(change)
    same = ops.max(ops.abs(new - best), axis=(1, 2, 3)) < 1e-6  # else up to half the queries were in vain
    return where_rows(same, moved(-change), new)
