"""What the batches of a training cost: made in the graph, over drawn by Keras from a generator."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import keras

from keras_adv import data, registry
from keras_adv.backend import Game, in_graph
from keras_adv.batches import Batches, in_bytes
from keras_adv.models import LeNet

DEFENSES = ("standard", "trades", "critic(warmup=0)")


def feed(repeats: int = 3, only: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """One row for each of a few defenses: an epoch of digits by the first way over the second.

    The first is timed first: with a generator TensorFlow changes the allocator for the rest of the process.
    """
    split = data.load("digits").train
    ways = {"graph": lambda b: in_graph(b, in_bytes(b.images)), "generator": lambda b: b}
    seconds: dict[tuple[str, str], float] = {}
    chosen = [spec for spec in DEFENSES if not only or registry.parse("defense", spec).name in only]
    for way, source in ways.items():
        for spec in chosen:
            seconds[spec, way] = _epoch(spec, Batches(split, 100, 0), source, repeats)
    for spec in chosen:
        ratio = seconds[spec, "graph"] / seconds[spec, "generator"]
        yield {"name": spec, "passes": "", "ratio": ratio, "seconds": seconds[spec, "graph"]}


def _epoch(spec: str, batches: Batches, source: Any, repeats: int) -> float:
    """Median seconds of an epoch, after one that compiles."""
    keras.utils.set_random_seed(0)
    defense: Any = registry.parse("defense", spec)
    game = Game(LeNet().build((8, 8, 1), 10), defense)
    game.compile_moves(defense.moves(), len(batches), 1)
    fed, times = source(batches), []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        game.fit(fed, epochs=2, shuffle=False, verbose=0)
        times.append((time.perf_counter() - started) / 2)
    return median(times[1:])
