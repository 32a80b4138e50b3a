"""The batch in flight: images leave it when they are done, and the next take their places.

Compiled batches hold one image a slot. When enough slots have finished (fooled, for a bounded
attack; converged, for a minimal one) the next images take them over; when no images wait, the batch shrinks if that pays.
An image's own random start, counter and state go with it, so neither batch size nor order changes its result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_adv.attacks import Attack, Task
from keras_adv.attacks.base import State
from keras_adv.backend import ANY_SIZE
from keras_adv.threats.base import Tensor

REFILL = 0.125  # refill when this share of the slots is free
STEP = 8  # batches of any size are a multiple of this
SMALLEST = 32  # a batch compiled for its size is at least this
Finished = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(image numbers, candidates, rounds used)."""


class Compiled:
    """The compiled parts of one attack on one model; weights and eps stay free to change.

    Args:
        logits: the model as attacks see it.
        attack: the attack.
        compile: what compiles a function for that model.
    """

    def __init__(
        self, logits: Callable[[Tensor], Tensor], attack: Attack, compile: Callable[..., Any]
    ) -> None:
        def begin(fields: Any, used: Tensor, old: State, source: Tensor) -> State:
            state = attack.begin(Task(logits, *fields))
            state["done"] = ops.logical_or(state["done"], ops.logical_not(used))
            both = {n: ops.concatenate([old[n], v]) if old else v for n, v in state.items()}
            return {n: ops.take(v, source, axis=0) for n, v in both.items()}

        def advance(fields: Any, state: State, rounds: Tensor) -> tuple[State, Tensor]:
            state = attack.advance(Task(logits, *fields), state, rounds)
            return state, attack.candidate(state)

        self.begin, self.advance = compile(begin), compile(advance)
        self.sizes: dict[int, float] = {}  # batch size -> seconds that compiling for it took


class Slots:
    """Runs one attack over the images of a queue.

    Args:
        attack: the attack.
        compiled: its compiled parts.
        fields: the fields of `Task` after the model, one row an image of the set, or None.
        queue: numbers of the images to attack.
        batch_size: slots.
    """

    def __init__(
        self, attack: Attack, compiled: Compiled, fields: tuple[Any, ...], queue: np.ndarray, batch_size: int
    ) -> None:
        self.compiled, self.fields, self.queue, self.left = compiled, fields, queue, len(queue)
        self.size = min(batch_size, self._smaller(len(queue)))
        self.index = np.full(self.size, -1)
        self.state: State = {}
        self.total, self.chunk = attack.total, np.int32(max(1, min(100, attack.total // 50)))
        self.pace = 0.0  # seconds a round takes

    def run(self) -> Iterator[Finished]:
        """Yields images as they finish."""
        while self.left:
            free = self.index < 0
            if len(self.queue) and free.mean() >= min(REFILL, len(self.queue) / self.size):
                self._fill(free)
            elif not len(self.queue):
                self._shrink()
            found = self._advance()
            ready = np.asarray(self.state["done"]) & (self.index >= 0)
            if ready.any():
                done = self.index[ready]
                finished = done, np.asarray(found)[ready], np.asarray(self.state["k"])[ready]
                self.index[ready] = -1
                self.left -= len(done)
                yield finished

    def _fill(self, free: np.ndarray) -> None:
        """The next images start in free slots, in a batch of their own where that needs no compilation."""
        places = np.flatnonzero(free)[: len(self.queue)]
        self.index[places], self.queue = self.queue[: len(places)], self.queue[len(places) :]
        self.held, source = self._fields(self.index), np.arange(self.size)
        fresh = self.index
        if self.state:
            size = min(self._smaller(len(places)), self.size) if ANY_SIZE else self.size
            fresh = self.index[np.resize(places, size)]
            source[places] = self.size + np.arange(len(places))
        self.state = self.compiled.begin(self._fields(fresh), fresh >= 0, self.state, source)

    def _advance(self) -> Tensor:
        started = time.perf_counter()
        self.state, found = self.compiled.advance(self.held, self.state, self.chunk)
        np.asarray(self.state["done"])  # waits for it
        seconds = time.perf_counter() - started
        if self.compiled.sizes.setdefault(self.size, seconds) != seconds:
            self.pace = seconds / int(self.chunk)
        return found

    def _shrink(self) -> None:
        """To what is left, when that is a smaller batch that costs no compilation, or one that pays for it."""
        left = int((self.index >= 0).sum())
        size = self._smaller(left)
        if size > (1 - REFILL) * self.size:
            return
        if not ANY_SIZE and size not in self.compiled.sizes:
            to_go = (self.total - int(np.asarray(self.state["k"])[self.index >= 0].min())) * self.pace
            if (1 - size / self.size) * to_go < self.compiled.sizes[self.size]:
                return
        kept = np.argsort(self.index < 0, kind="stable")[:size]
        self.index, self.size = self.index[kept], size
        self.state = {n: ops.take(v, kept, axis=0) for n, v in self.state.items()}
        self.held = self._fields(self.index)

    def _smaller(self, left: int) -> int:
        """Slots for `left` images: a multiple of `STEP`, or where every size is compiled a power of two."""
        if ANY_SIZE:
            return max(left + -left % STEP, STEP)
        return max(SMALLEST, 1 << max(left - 1, 0).bit_length())

    def _fields(self, index: np.ndarray) -> tuple[Any, ...]:
        rows = np.maximum(index, 0)  # a free slot holds image 0 and is marked done
        return tuple(None if a is None else ops.convert_to_tensor(a[rows]) for a in self.fields)


def in_batches(fn: Callable[..., Any], size: int, *arrays: Any) -> list[np.ndarray]:
    """`fn` over rows in batches of one shape (the last is filled up), outputs joined; an array may be None."""
    count = len(arrays[0])
    size = min(size, count)
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        given = (None if a is None else a[rows] for a in arrays)
        parts.append([np.asarray(v) for v in fn(*given)])
    return [np.concatenate(column)[:count] for column in zip(*parts, strict=True)]
