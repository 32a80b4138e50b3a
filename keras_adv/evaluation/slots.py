"""The batch in flight: images leave it when they are done, and the next take their places.

Compiled batches hold one image a slot. When enough slots have finished (fooled, for a bounded attack;
converged, for a minimal one) the next images take them over; when no images wait, the batch shrinks if that
pays. An image's own random start, counter and state go with it, so neither batch size nor order changes its
result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.attacks import Attack
from keras_adv.attacks.base import State
from keras_adv.attacks.host import Search
from keras_adv.attacks.task import Examples
from keras_adv.backend import DYNAMIC_BATCH_SIZE
from keras_adv.evaluation.compiled import CompiledAttack

REFILL = 0.125
"""Slots are refilled when this share of them is free."""
STEP = 8
"""Batches of any size are a multiple of this."""
SMALLEST = 32
"""A batch that is compiled for its size is at least this."""


class Finished(NamedTuple):
    """Images that an attack is done with, one row an image (NumPy).

    Attributes:
        rows: (M,) their places in the examples.
        images: (M, H, W, C) what the attack offers.
        rounds: (M,) rounds used.
    """

    rows: np.ndarray
    images: np.ndarray
    rounds: np.ndarray

    def take(self, chosen: np.ndarray) -> Finished:
        """Those rows only."""
        return Finished(*(field[chosen] for field in self))


class Slots:
    """Runs one attack over the images of a queue.

    Args:
        attack: the attack.
        compiled: its compiled loop.
        examples: of the whole set (NumPy).
        queue: the rows of the examples to attack.
        batch_size: slots.
    """

    def __init__(
        self,
        attack: Attack,
        compiled: CompiledAttack,
        examples: Examples,
        queue: np.ndarray,
        batch_size: int,
    ) -> None:
        self.compiled, self.examples, self.queue = compiled, examples, queue
        self.remaining = len(queue)
        self.size = min(batch_size, self._rounded_up(len(queue)))
        self.index = np.full(self.size, -1)  # the row in each slot; -1 where it is free
        self.state: State = {}
        self.rounds, self.chunk = attack.rounds, np.int32(max(1, min(100, attack.rounds // 50)))
        self.seconds_per_round = 0.0
        self.tell: Callable[[int], None] | None = None
        """Called, if it is set, now and then with the rounds that the images in the slots have taken."""

    def run(self) -> Iterator[Finished]:
        """Yields images as they finish."""
        while self.remaining:
            free = self.index < 0
            if len(self.queue) and free.mean() >= min(REFILL, len(self.queue) / self.size):
                self._fill(free)
            elif not len(self.queue):
                self._shrink()
            offered = self._advance()
            ready = np.asarray(self.state["done"]) & (self.index >= 0)
            if ready.any():
                rows = self.index[ready]
                finished = Finished(rows, np.asarray(offered)[ready], np.asarray(self.state["k"])[ready])
                self.index[ready] = -1
                self.remaining -= len(rows)
                yield finished
            if self.tell is not None:
                self.tell(int(np.asarray(self.state["k"])[self.index >= 0].sum()))

    def _fill(self, free: np.ndarray) -> None:
        """The next images start in free slots, in a batch of their own where that needs no compilation."""
        places = np.flatnonzero(free)[: len(self.queue)]
        self.index[places], self.queue = self.queue[: len(places)], self.queue[len(places) :]
        self.held, source = self._examples(self.index), np.arange(self.size)
        fresh = self.index
        if self.state:
            size = min(self._rounded_up(len(places)), self.size) if DYNAMIC_BATCH_SIZE else self.size
            fresh = self.index[np.resize(places, size)]
            source[places] = self.size + np.arange(len(places))
        self.state = self.compiled.begin(self._examples(fresh), fresh >= 0, self.state, source)

    def _advance(self) -> Tensor:
        started = time.perf_counter()
        self.state, offered = self.compiled.advance(self.held, self.state, self.chunk)
        np.asarray(self.state["done"])  # waits for it
        seconds = time.perf_counter() - started
        if self.compiled.sizes.setdefault(self.size, seconds) != seconds:
            self.seconds_per_round = seconds / int(self.chunk)
        return offered

    def _shrink(self) -> None:
        """Drops free slots, where the smaller batch needs no compilation or saves more time than it costs."""
        left = int((self.index >= 0).sum())
        size = self._rounded_up(left)
        if size > (1 - REFILL) * self.size:
            return
        if not DYNAMIC_BATCH_SIZE and size not in self.compiled.sizes:
            fewest = int(np.asarray(self.state["k"])[self.index >= 0].min())
            seconds_left = (self.rounds - fewest) * self.seconds_per_round
            if (1 - size / self.size) * seconds_left < self.compiled.sizes[self.size]:
                return
        kept = np.argsort(self.index < 0, kind="stable")[:size]
        self.index, self.size = self.index[kept], size
        self.state = {n: ops.take(v, kept, axis=0) for n, v in self.state.items()}
        self.held = self._examples(self.index)

    def _rounded_up(self, left: int) -> int:
        """Slots for `left` images: a multiple of `STEP`, or where every size is compiled a power of two."""
        if DYNAMIC_BATCH_SIZE:
            return max(left + -left % STEP, STEP)
        return max(SMALLEST, 1 << max(left - 1, 0).bit_length())

    def _examples(self, index: np.ndarray) -> Examples:
        return self.examples.take(np.maximum(index, 0)).as_tensors()  # a free slot holds image 0, marked done


def host_batches(
    search: Search, examples: Examples, queue: np.ndarray, batch_size: int
) -> Iterator[Finished]:
    """Runs an attack of the host over the images of a queue, in batches of one shape."""
    size = min(batch_size, max(len(queue), 1))
    for start in range(0, len(queue), size):
        rows = queue[np.minimum(np.arange(start, start + size), len(queue) - 1)]
        images, rounds = search(examples.take(rows))
        count = len(queue[start : start + size])
        yield Finished(rows[:count], images[:count], rounds[:count])


def in_batches(fn: Callable[..., Any], size: int, *nests: Any) -> list[np.ndarray]:
    """`fn` over the rows of arrays (or of nests of arrays and None) in batches of one shape; the outputs
    joined.

    The last batch is filled up with its last row.
    """
    count = len(keras.tree.flatten(nests)[0])
    size = min(size, count)
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        given = [nest.take(rows) if isinstance(nest, Examples) else nest[rows] for nest in nests]
        parts.append([np.asarray(v) for v in fn(*given)])
    return [np.concatenate(column)[:count] for column in zip(*parts, strict=True)]
