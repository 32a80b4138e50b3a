"""What is asked of an attack on a batch: the model, the images, and the goal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from keras_adv.backend import Net, View
from keras_adv.losses import decision, margin
from keras_adv.threats.base import Tensor
from keras_adv.validate import InvalidInput

Logits = Callable[[Tensor], Tensor]


class Task(NamedTuple):
    """One batch to attack.

    Attributes:
        logits: the model, (B, ...) -> (B, K): a `View`, or any pure function.
        x: images (B, H, W, C) in [0, 1].
        y: (B,) int32 labels, the classes to leave.
        seeds: (B,) uint32, one random stream for each image.
        eps: (B,) radius of each image, or None.
        target: (B,) int32 classes to reach, or None: any class but y will do.
        guide: (B, H, W, C) images whose features are to be imitated, for the attacks that are `guided`.
    """

    logits: Logits
    x: Tensor
    y: Tensor
    seeds: Tensor
    eps: Tensor = None
    target: Tensor | None = None
    guide: Tensor | None = None

    def see(self, images: Tensor, draw: Any = None) -> Tensor:
        """Logits of `images`; `draw` numbers the draw of a random net (others ignore it)."""
        return self.logits(images, draw) if isinstance(self.logits, View) else self.logits(images)

    def features(self, images: Tensor) -> Tensor:
        """(B, F) activations of the layer named "features"."""
        return self._view().features(images)

    def featured(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(`features`, `see`) in one pass."""
        return self._view().featured(images)

    def _view(self) -> View:
        if not isinstance(self.logits, View):
            raise InvalidInput(
                "`model` must be a Keras model with a layer named 'features'. Received: a function"
            )
        return self.logits

    def fooled(self, z: Tensor) -> Tensor:
        """(B,) bool: do these logits reach the goal?"""
        return decision(z) != self.y if self.target is None else decision(z) == self.target

    def margin(self, z: Tensor) -> Tensor:
        """(B,) how far these logits are beyond the goal: positive exactly where they reach it."""
        return margin(z, self.y) if self.target is None else -margin(z, self.target)


def ask(model: Any) -> Logits:
    """The pure function of a Keras model that attacks see; a function is returned as it is."""
    return View(Net(model, frozen=True)) if isinstance(model, keras.Model) else model
