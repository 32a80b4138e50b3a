"""Feeds a data set through an attack, and spends gradients only on images that still need them.

Compiled batches of a fixed shape hold one image a slot. When enough slots have finished (fooled, for a bounded
attack; converged, for a minimal one) the next images take them over; when no images wait, the batch shrinks.
An image's own random start, counter and state go with it, so neither batch size nor order changes its result.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_adv import noise, registry, validate
from keras_adv.attacks import Attack
from keras_adv.attacks.base import State
from keras_adv.backend import Net, compile
from keras_adv.evaluation.checks import check_logits, check_model
from keras_adv.threats.base import Tensor, rows

REFILL = 0.125  # refill when this share of the slots is free
SMALLEST = 32  # do not shrink a batch below this
Progress = Callable[[int, int], None]


class Result(NamedTuple):
    """An attack on a data set, one row an image (NumPy).

    Attributes:
        images: adversarial images; the clean one where it was misclassified anyway or, for a minimal
            attack, where none was found.
        clean: bool, the clean image is classified correctly.
        success: bool, `images` are misclassified (so true where `clean` is false).
        distance: norm of the change in the attack's threat.
        gradients: forward-backward passes spent on the image.
        seconds: wall time of the whole run, compilation included.
    """

    images: np.ndarray
    clean: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    gradients: np.ndarray
    seconds: float


class _Compiled:
    """The compiled parts of one attack on one model; weights stay free to change."""

    def __init__(self, model: keras.Model, attack: Attack) -> None:
        # weak: the cache below must not keep its own key alive
        ref = weakref.ref(model)

        def logits(x: Tensor) -> Tensor:
            return Net(ref(), frozen=True).logits(x)

        def begin(x: Tensor, y: Tensor, seeds: Tensor, old: State, fresh: Tensor, used: Tensor) -> State:
            state = attack.begin(logits, x, y, seeds)
            if old:  # only the fresh slots start
                state = {n: ops.where(rows(fresh, v), v, old[n]) for n, v in state.items()}
            return {**state, "done": ops.logical_or(state["done"], ops.logical_not(used))}

        def advance(x: Tensor, y: Tensor, state: State, rounds: Tensor) -> tuple[State, Tensor]:
            state = attack.advance(logits, x, y, state, rounds)
            return state, attack.candidate(state)

        self.begin = compile(begin, model)
        self.advance = compile(advance, model)
        self.judge = compile(lambda x, y, found: attack.judge(logits, x, y, found), model)


_cache: weakref.WeakKeyDictionary[keras.Model, dict[str, Any]] = weakref.WeakKeyDictionary()


def _once(model: keras.Model, key: str, make: Callable[[], Any]) -> Any:
    """What `make` made for this model and key the first time."""
    known = _cache.setdefault(model, {})
    if key not in known:
        known[key] = make()
    return known[key]


def attack(
    model: keras.Model,
    x: Any,
    y: Any,
    attack: Attack | str,
    *,
    batch_size: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
) -> Result:
    """Attacks every image of a data set that the model classifies correctly.

    Args:
        model: Keras model, images (B, H, W, C) in [0, 1] -> logits (B, K). It is left as it was: inference
            mode, no state update.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attack: an attack or its spec, "pgd(threat=linf(eps=8/255), steps=20)".
        batch_size: images at a time; changes speed and memory, not results.
        seed: of random starts; image i of the set draws from (seed, i).
        progress: called with (images finished, images).

    Returns:
        `Result`, in the order of x.

    Raises:
        InvalidInput: unusable model, images or labels, an unknown attack, or one that needs an eps.
    """
    chosen: Attack = registry.parse("attack", attack)
    started = time.perf_counter()
    x, y, logits = classify(model, x, y, batch_size, seed)
    classes, clean = logits.shape[1], logits.argmax(1) == y
    compiled: _Compiled = _once(model, registry.spec(chosen), lambda: _Compiled(model, chosen))
    images, rounds = x.copy(), np.zeros(len(x), "int64")
    seeds = np.asarray(noise.seeds(seed, np.arange(len(x), dtype="uint32")))
    slots = _Slots(chosen, compiled, (x, y, seeds), np.flatnonzero(clean), batch_size)
    for index, found, used in slots.run():
        images[index], rounds[index] = found, used
        if progress is not None:
            progress(len(x) - slots.left, len(x))
    images, success, distance = _in_batches(compiled.judge, batch_size, x, y, images)
    cost = rounds * chosen.gradients(classes) + clean * chosen.opening(classes)
    return Result(images, clean, success, distance, cost, time.perf_counter() - started)


def classify(
    model: keras.Model, x: Any, y: Any, batch_size: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, labels, logits), all checked. Raises InvalidInput as `attack`."""
    shape, classes = check_model(model)
    x = validate.images(x, shape=shape)
    y = validate.labels(y, len(x), classes)
    validate.number("batch_size", batch_size, low=1, whole=True)
    validate.seed(seed)
    ref = weakref.ref(model)
    run = _once(model, "logits", lambda: compile(lambda part: Net(ref(), frozen=True).logits(part), model))
    logits = _in_batches(lambda part: (run(part),), batch_size, x)[0]
    check_logits(logits)
    return x, y, logits


class _Slots:
    """The batch in flight."""

    def __init__(
        self,
        attack: Attack,
        compiled: _Compiled,
        data: tuple[np.ndarray, np.ndarray, np.ndarray],
        queue: np.ndarray,
        batch_size: int,
    ) -> None:
        self.attack, self.compiled, self.data = attack, compiled, data
        self.queue, self.left = queue, len(queue)
        self.size = min(batch_size, max(SMALLEST, 1 << (len(queue) - 1).bit_length()))
        self.index = np.full(self.size, -1)
        self.state: State = {}
        self.chunk = np.int32(max(1, attack.total // 50))

    def run(self) -> Any:
        """Yields (image numbers, candidates, steps used) as images finish."""
        while self.left:
            free = self.index < 0
            if len(self.queue) and free.mean() >= min(REFILL, len(self.queue) / self.size):
                self._fill(free)
            elif not len(self.queue) and self.size > SMALLEST and (~free).sum() <= self.size // 4:
                self._shrink()
            self.state, found = self.compiled.advance(*self.held, self.state, self.chunk)
            ready = np.asarray(self.state["done"]) & (self.index >= 0)
            if ready.any():
                done = self.index[ready]
                yield_now = done, np.asarray(found)[ready], np.asarray(self.state["k"])[ready]
                self.index[ready] = -1
                self.left -= len(done)
                yield yield_now

    def _fill(self, free: np.ndarray) -> None:
        places = np.flatnonzero(free)[: len(self.queue)]
        self.index[places], self.queue = self.queue[: len(places)], self.queue[len(places) :]
        self._load()
        fresh = np.zeros(self.size, bool)
        fresh[places] = True
        x, y = self.held
        seeds = ops.convert_to_tensor(self.data[2][np.maximum(self.index, 0)])
        self.state = self.compiled.begin(x, y, seeds, self.state, fresh, self.index >= 0)

    def _shrink(self) -> None:
        kept = np.argsort(self.index < 0, kind="stable")[: self.size // 4]
        self.index, self.size = self.index[kept], len(kept)
        self.state = {n: ops.take(v, kept, axis=0) for n, v in self.state.items()}
        self._load()

    def _load(self) -> None:
        rows = np.maximum(self.index, 0)  # a free slot holds image 0 and is marked done
        self.held = tuple(ops.convert_to_tensor(array[rows]) for array in self.data[:2])


def _in_batches(fn: Callable[..., Any], size: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """`fn` over rows in batches of one shape (the last is filled up), outputs joined."""
    count = len(arrays[0])
    size = min(size, count)
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        parts.append([np.asarray(v) for v in fn(*(a[rows] for a in arrays))])
    return [np.concatenate(column)[:count] for column in zip(*parts, strict=True)]
