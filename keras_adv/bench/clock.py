"""Ratios of times, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from keras_adv import registry
from keras_adv.models import Architecture

SHAPE, CLASSES = (28, 28, 1), 10
Key = TypeVar("Key")


def network(spec: Architecture | str) -> tuple[Architecture, tuple[int, int, int]]:
    """(the network of a spec, the shape of images it is timed on: MNIST's for LeNet and MLP, else
    CIFAR's)."""
    design: Architecture = registry.parse("model", spec)
    return design, SHAPE if design.name in ("lenet", "mlp") else (32, 32, 3)


def images(batch: int, shape: tuple[int, int, int] = SHAPE) -> tuple[Any, Any]:
    """Random images, of MNIST's size unless told otherwise, and labels."""
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.random((batch, *shape), "float32"))
    return x, ops.convert_to_tensor(rng.integers(0, CLASSES, batch).astype("int32"))


def seconds(fn: Callable[[], Any]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    for leaf in keras.tree.flatten(fn()):
        np.asarray(leaf)  # waits for asynchronous devices
    return time.perf_counter() - start


def ratio(
    make: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]], repeats: int, builds: int
) -> tuple[float, float]:
    """(median of time(work) / time(floor), median time of work), alternating, after one warm-up of each.

    `make` compiles both anew, `builds` times: on a CPU two compilations of one function can differ by a
    third.
    """
    pairs = []
    for _ in range(builds):
        work, floor = make()
        seconds(work)
        seconds(floor)
        pairs += [(seconds(work), seconds(floor)) for _ in range(repeats)]
    return statistics.median(a / b for a, b in pairs), statistics.median(a for a, _ in pairs)


def medians(made: dict[Key, Callable[[], Any]], repeats: int) -> dict[Key, float]:
    """Median seconds of each, in turn, after one warm-up."""
    for run in made.values():
        seconds(run)
    rounds = [{key: seconds(run) for key, run in made.items()} for _ in range(repeats)]
    return {key: statistics.median(one[key] for one in rounds) for key in made}
