"""Training batches of arrays: their order and augmentation, a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv.backend import IMAGES, ROWS
from keras_adv.data import Split

AUGMENTS = ("none", "crop_flip")
PAD = 4
"""Pixels of zeros on each side, out of which "crop_flip" cuts."""


class Plan(NamedTuple):
    """What the batches of an epoch are made of: arrays of (steps, images a batch).

    Attributes:
        rows: of the training set, int32.
        top: where the crop begins in the padded image, int32; None without augmentation.
        left: so too.
        flip: whether the crop is mirrored.
    """

    rows: np.ndarray
    top: np.ndarray | None = None
    left: np.ndarray | None = None
    flip: np.ndarray | None = None


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
        self.plan = Plan(rows.astype("int32"))
        if self.augment == "crop_flip":
            crops = [draw_crops(rows.shape[1], (self.seed, epoch, index)) for index in range(self.steps)]
            self.plan = Plan(self.plan.rows, *(np.stack(part) for part in zip(*crops, strict=True)))
        for tell in self.changed:
            tell(self.plan)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        rows = self.plan.rows[index]
        crops: list[Any] = [part[index] for part in self.plan[1:] if part is not None]
        x = crop_flip(self.images[rows], *crops) if crops else self.images[rows]
        given = {IMAGES: x, ROWS: rows} if self.numbered else x
        rest = (self.labels,) if self.weights is None else (self.labels, self.weights)
        return (given, *(part[rows] for part in rest))


def draw_crops(count: int, seed: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(top, left, flip) of so many images, each crop and each mirroring alike probable."""
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 2 * PAD + 1, (2, count)).astype("int32")
    return top, left, rng.random(count) < 0.5


def crop_flip(x: np.ndarray, top: np.ndarray, left: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Each image padded with zeros, cropped to its size, and mirrored where `flip`."""
    _, h, w, _ = x.shape
    wide = np.pad(x, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)))
    cropped = np.empty_like(x)
    for row, (i, j) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        cropped[row] = wide[row, i : i + h, j : j + w]  # whole rows of memory: faster than one fancy index
    cropped[flip] = cropped[flip, :, ::-1]
    return cropped


def in_bytes(images: np.ndarray) -> np.ndarray:
    """Images that are n / 255 to the last bit as uint8 n, others as they are."""
    whole = np.round(images * 255.0).astype("uint8")
    return whole if np.array_equal(whole.astype("float32") / np.float32(255.0), images) else images
