"""Attacks whose optimiser is SciPy's: they run on the host and send the model compiled batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_adv.arrays import Logits, Tensor
from keras_adv.attacks.base import Attack, Found
from keras_adv.attacks.task import Examples, Task
from keras_adv.validate import InvalidInput

Search = Callable[[Examples], tuple[np.ndarray, np.ndarray]]
"""Examples (NumPy) -> (images to offer (B, H, W, C), rounds used by each (B,))."""


class HostAttack(Attack):
    """Base of attacks that a library on the host drives. Subclasses write `search`."""

    def search(self, model: Logits, compile: Callable[..., Any]) -> Search:
        """The attack on one model: Examples (NumPy) -> (images (B, H, W, C), rounds (B,) int32).

        Args:
            model: images -> logits.
            compile: makes a compiled function of a function of tensors; the model is called in such functions
                only.
        """
        raise NotImplementedError

    def perturb(
        self, logits: Any, x: Tensor, y: Tensor, seeds: Tensor, target: Tensor | None = None
    ) -> Tensor:
        raise InvalidInput(
            f"`attack` must run inside a compiled training step. Received: {self.name}, whose optimizer "
            "is SciPy's and runs outside of it"
        )

    def run(self, task: Task) -> Found:
        images, rounds = self.search(task.model, lambda fn: fn)(task.examples.as_arrays())
        return Found(*self.verify(task, ops.convert_to_tensor(images)), ops.convert_to_tensor(rounds))
