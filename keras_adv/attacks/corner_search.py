"""CornerSearch: random sets of the pixels that fool best alone, from scores."""

from __future__ import annotations

import math

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.attacks.base import MOST_ROUNDS, Passes, State
from keras_adv.attacks.contracts import NOTHING, MinimalAttack
from keras_adv.attacks.task import Task
from keras_adv.losses import pick
from keras_adv.numerics.rows import update_rows
from keras_adv.registry import option, register
from keras_adv.threats import L0, Threat
from keras_adv.threats.base import require_norm
from keras_adv.validate import invalid


@register("attack", "corner_search")
class CornerSearch(MinimalAttack):
    """Sets few pixels to corners of the colour cube: each alone, then sets of the best (Croce & Hein).

    First every pixel is set to each of its 2^C corners (channels at 0 or 1), alone. These changes are ranked
    K times, for each wrong class c by z_c - z_y, and by the margin max_c z_c - z_y. Then for n = 2, 3, ...
    pixels and each ranking `tries` sets of n changes are drawn from its best N, rank i with probability
    (2 (N - i) - 1) / N^2, i = 0 the best; of two changes of one pixel the later holds, so a set may change
    fewer. The first mistake ends the search. The paper's other threats, with a limit for each pixel, are not
    here.

    Args:
        threat: l0 of whole pixels; its eps, if any, is where the robust accuracy is reported.
        steps: forward passes at most; the whole search takes 2^C H W + (most - 1) K tries.
        candidates: N.
        tries: sets of each size and ranking.
        most: pixels of the largest sets.

    Cost: 1 + steps forward passes, fewer for images that are fooled on the way.
    """

    reference = "arXiv:1909.05040"
    knowledge = "scores"
    threat: Threat = option(default=L0())
    steps: int = option(default=100_000, low=1)
    candidates: int = option(default=100, low=1)
    tries: int = option(default=1000, low=1)
    most: int = option(default=50, low=1)

    def check(self) -> None:
        require_norm(self.threat, "l0")
        if not getattr(self.threat, "pixels", False):
            raise invalid("threat", "l0(pixels=True): whole pixels change", self.threat)

    @property
    def rounds(self) -> int:
        return self.steps

    def start(self, task: Task) -> State:
        _, height, width, channels = task.x.shape
        kept = min(self.candidates, height * width * 2**channels)
        empty = ops.repeat(ops.zeros_like(task.logits(task.x))[:, :, None], kept, axis=2)
        ranked = {"worth": empty - 1e30, "changes": ops.cast(empty, "int32")}
        return {**self.no_best_yet(task), **ranked}

    @property
    def passes_at_start(self) -> Passes:
        return {"forward": 1}

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        x, k = task.x, state["k"]
        alone = math.prod(x.shape[1:3]) * 2 ** x.shape[3]
        rankings = state["worth"].shape[1]
        first = k < alone
        number = ops.maximum(k - alone, 0) // self.tries  # of the size and ranking
        size = 2 + number // rankings
        drawn = self._drawn(pick(state["changes"], number % rankings), size, noise.fold(task.seeds, k))
        image = with_corners(x, ops.where(first[:, None], k[:, None], drawn))
        z = task.logits(image)
        seen = self.update_best(task, state, image, task.fooled(z))
        ranked = {name: state[name] for name in ("worth", "changes")}
        ranked = update_rows(first, lambda: insert(ranked, self._worth(task, z), k), ranked)
        whole = min(alone + (self.most - 1) * rankings * self.tries, MOST_ROUNDS)
        over = ops.logical_or(k + 1 >= whole, seen["best_norm"] < NOTHING)
        return {**seen, **ranked}, over

    def _worth(self, task: Task, logits: Tensor) -> Tensor:
        """(B, K) what the rankings go by: z_c - z_y, at c = y the margin."""
        own = ops.one_hot(task.y, logits.shape[1], dtype="bool")
        lead = logits - pick(logits, task.y)[:, None]
        worth = ops.where(own, task.margin(logits)[:, None], lead)
        return ops.where(ops.isfinite(worth), ops.clip(worth, -1e29, 1e29), -1e29)

    def _drawn(self, changes: Tensor, size: Tensor, seeds: Tensor) -> Tensor:
        """(B, most) of `changes` (B, N), the best first: `size` (B,) random ones, then the first again."""
        place = ranks(noise.uniform(seeds, (self.most,)), changes.shape[1])
        used = ops.arange(self.most, dtype="int32")[None, :] < size[:, None]
        return ops.take_along_axis(changes, ops.where(used, place, place[:, :1]), axis=1)


def ranks(drawn: Tensor, count: int) -> Tensor:
    """int32 ranks 0 to count - 1 of uniform numbers in [0, 1): i with probability (2 (count - i) - 1) /
    count^2."""
    return ops.maximum(count - 1 - ops.cast(ops.sqrt(drawn) * count, "int32"), 0)


def insert(ranked: State, worth: Tensor, change: Tensor) -> State:
    """ "worth" (B, K, N), falling, and its "changes", with a change (B,) of a `worth` (B, K) behind its
    equals; the last falls out."""
    old, new = ranked["worth"], worth[:, :, None]
    place = ops.sum(ops.cast(old >= new, "int32"), axis=2, keepdims=True)
    index = ops.arange(old.shape[2], dtype="int32")[None, None, :]

    def put(values: Tensor, value: Tensor) -> Tensor:
        moved = ops.concatenate([values[:, :, :1], values[:, :, :-1]], axis=2)
        return ops.where(index < place, values, ops.where(index == place, value, moved))

    return {"worth": put(old, new), "changes": put(ranked["changes"], change[:, None, None])}


def with_corners(x: Tensor, changes: Tensor) -> Tensor:
    """x (B, H, W, C) with changes (B, n) made one after the other: change pixel 2^C + bits sets channel c of
    the pixel to bit c."""
    (pixels, channels), count = (math.prod(x.shape[1:3]), x.shape[3]), changes.shape[1]
    pixel, corner = changes // 2**channels, changes % 2**channels
    # of changes of one pixel all write what the last of them says, in whatever order they are written
    same = pixel[:, :, None] == pixel[:, None, :]
    last = ops.max(ops.where(same, ops.arange(count, dtype="int32")[None, None, :], 0), axis=2)
    corner = ops.take_along_axis(corner, last, axis=1)
    bits = corner[:, :, None] // ops.convert_to_tensor([2**c for c in range(channels)], "int32") % 2
    rows = ops.zeros_like(pixel) + ops.arange(ops.shape(x)[0], dtype="int32")[:, None]
    places = ops.reshape(ops.stack([rows, pixel], axis=2), (-1, 2))
    values = ops.reshape(ops.cast(bits, x.dtype), (-1, channels))
    flat = ops.reshape(x, (-1, pixels, channels))
    return ops.reshape(ops.scatter_update(flat, places, values), ops.shape(x))
