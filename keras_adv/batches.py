"""Training batches of arrays: their order and augmentation, a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_adv.data import Split

AUGMENTS = ("none", "crop_flip")


class Batches(keras.utils.PyDataset):
    """Training batches, shuffled anew each epoch by (seed, epoch) alone, so that a resumed run sees the same.

    The last, smaller batch of an epoch is dropped (a batch of another size would be compiled by itself).

    Args:
        split: (images, labels).
        batch: images a batch; at most all of them.
        seed: of the order and of the augmentation.
        augment: "none", or "crop_flip": pad by 4, random crop, random horizontal flip.
        rows: (rows of a batch, generator) -> the rows that are given (`Defense.batch_rows`).
        weights: (N,) float32 of the images, or None.
        steps: batches an epoch, at most as many as there are; None: all.
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
    ) -> None:
        super().__init__()
        self.rows, self.weights, self.steps = rows, weights, steps
        self.images, self.labels = split
        self.batch, self.seed, self.augment = min(batch, len(self.images)), seed, augment
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Sets the order of `epoch`."""
        self.epoch = epoch
        self.order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))

    def __len__(self) -> int:
        return self.steps or len(self.images) // self.batch

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        rows = self.order[index * self.batch : (index + 1) * self.batch]
        if self.rows is not None:
            rows = self.rows(rows, np.random.default_rng((self.seed, self.epoch, index, 1)))
        x = self.images[rows]
        if self.augment == "crop_flip":
            x = crop_flip(x, np.random.default_rng((self.seed, self.epoch, index)))
        return (x, self.labels[rows]) if self.weights is None else (x, self.labels[rows], self.weights[rows])


def crop_flip(x: np.ndarray, rng: np.random.Generator, pad: int = 4) -> np.ndarray:
    """Each image padded with zeros, cropped at random to its size, and flipped with probability 1/2."""
    n, h, w, _ = x.shape
    wide = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    top, left = rng.integers(0, 2 * pad + 1, (2, n))
    cropped = np.empty_like(x)
    for row, (i, j) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        cropped[row] = wide[row, i : i + h, j : j + w]  # whole rows of memory: faster than one fancy index
    flip = rng.random(n) < 0.5
    cropped[flip] = cropped[flip, :, ::-1]
    return cropped
