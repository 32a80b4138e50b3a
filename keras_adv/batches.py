"""Training batches of arrays: their order and augmentation, a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv.backend import IMAGES, ROWS
from keras_adv.data import Split, augmenting


class Plan(NamedTuple):
    """What the batches of an epoch are made of: arrays of (steps, images a batch).

    Attributes:
        rows: of the training set, int32.
        drawn: what the augmentation has drawn, by name (`augmenting.draw`).
    """

    rows: np.ndarray
    drawn: dict[str, np.ndarray]


class Batches(keras.utils.PyDataset):
    """Training batches, shuffled anew each epoch by (seed, epoch) alone, so that a resumed run sees the same.

    The last, smaller batch of an epoch is dropped (a batch of another size would be compiled by itself).

    Args:
        split: (images, labels).
        batch: images a batch; at most all of them.
        seed: of the order and of the augmentation.
        augment: one of `augmenting.AUGMENTS`.
        rows: (rows of a batch, generator) -> the rows that are given (`Defense.batch_rows`).
        weights: (N,) float32 of the images, or None.
        steps: batches an epoch, at most as many as there are; None: all.
        numbered: give a dictionary of the images and of their numbers in place of the images.

    Attributes:
        plan: of the epoch that is set.
        changed: called with the new plan when another epoch is set.
    """

    def __init__(
        self,
        split: Split,
        batch: int,
        seed: int,
        augment: str = "none",
        rows: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        weights: np.ndarray | None = None,
        steps: int | None = None,
        numbered: bool = False,
    ) -> None:
        super().__init__()
        self.numbered = numbered
        self.rows, self.weights = rows, weights
        self.images, self.labels = split
        self.batch, self.seed, self.augment = min(batch, len(self.images)), seed, augment
        self.steps = steps or len(self.images) // self.batch
        self.changed: list[Callable[[Plan], None]] = []
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Sets the order of `epoch`."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
        rows = order[: self.steps * self.batch].reshape(self.steps, self.batch)
        if self.rows is not None:
            draws = [np.random.default_rng((self.seed, epoch, index, 1)) for index in range(self.steps)]
            rows = np.stack([self.rows(one, draw) for one, draw in zip(rows, draws, strict=True)])
        seeds = [(self.seed, epoch, index) for index in range(self.steps)]
        drawn = [augmenting.draw(self.augment, rows.shape[1], seed) for seed in seeds]
        stacked = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
        self.plan = Plan(rows.astype("int32"), stacked)
        for tell in self.changed:
            tell(self.plan)

    def variables(self) -> Plan:
        """The plan as variables of TensorFlow, which follow it from epoch to epoch."""
        held: Plan = augmenting.variables(self.plan, self.changed)
        return held

    def augmented(self, x: Any, drawn: dict[str, Any]) -> Any:
        """Images of a batch, augmented in a graph of TensorFlow by what was drawn for them."""
        return augmenting.in_graph(x, drawn)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rows = self.plan.rows[index]
        drawn = {name: part[index] for name, part in self.plan.drawn.items()}
        x = augmenting.on_host(self.images[rows], drawn)
        given = {IMAGES: x, ROWS: rows} if self.numbered else x
        rest = (self.labels,) if self.weights is None else (self.labels, self.weights)
        return (given, *(part[rows] for part in rest))


def in_bytes(images: np.ndarray) -> np.ndarray:
    """Images that are n / 255 to the last bit as uint8 n, others as they are."""
    whole = np.round(images * 255.0).astype("uint8")
    return whole if np.array_equal(whole.astype("float32") / np.float32(255.0), images) else images
