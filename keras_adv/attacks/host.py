"""Attacks whose optimiser is SciPy's: they run on the host and ask the model for compiled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_adv.attacks.base import Attack, Found
from keras_adv.attacks.task import Logits, Task
from keras_adv.threats.base import Tensor
from keras_adv.validate import InvalidInput

Arrays = tuple[Any, ...]
"""The fields of `Task` after the model, as NumPy arrays or None."""


class HostAttack(Attack):
    """Base of attacks that a library on the host drives. Subclasses write `search`."""

    def search(
        self, logits: Logits, compile: Callable[..., Any]
    ) -> Callable[[Arrays], tuple[np.ndarray, np.ndarray]]:
        """(fields of a batch) -> (images offered, rounds used by each).

        What it asks of the model goes through functions made once with `compile`.
        """
        raise NotImplementedError

    def build(self, logits: Logits, compile: Callable[..., Any]) -> HostRun:
        """The attack on one model, compiled."""
        return HostRun(self, logits, compile)

    def perturb(
        self, logits: Any, x: Tensor, y: Tensor, seeds: Tensor, target: Tensor | None = None
    ) -> Tensor:
        raise InvalidInput(
            f"`attack` must run inside a compiled training step. Received: {self.name}, which is SciPy's"
        )

    def attempt(self, task: Task) -> Found:
        fields = tuple(None if f is None else np.asarray(f) for f in task[1:])
        images, rounds = self.search(task.logits, lambda fn: fn)(fields)
        return Found(*self.judge(task, ops.convert_to_tensor(images)), ops.convert_to_tensor(rounds))


class HostRun:
    """A host attack on one model."""

    def __init__(self, attack: HostAttack, logits: Logits, compile: Callable[..., Any]) -> None:
        self.search = attack.search(logits, compile)

    def run(self, fields: Arrays, queue: np.ndarray, batch_size: int) -> Iterator[Any]:
        """Yields (image numbers, candidates, rounds used), a batch at a time; batches have one shape."""
        size = min(batch_size, max(len(queue), 1))
        for start in range(0, len(queue), size):
            rows = queue[np.minimum(np.arange(start, start + size), len(queue) - 1)]
            images, rounds = self.search(tuple(None if f is None else f[rows] for f in fields))
            count = len(queue[start : start + size])
            yield rows[:count], images[:count], rounds[:count]
