"""Keeps the epoch that withstands an attack best."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv.attacks import Attack
from keras_adv.averaging import Averaged
from keras_adv.callbacks.collapse import BestWeights, robust_accuracy

BEST_EPOCH = "best_epoch"
"""Name under which a `Game` holds the weights of its best epoch."""
ROBUST_ACCURACY = "val_robust_accuracy"
"""In logs: accuracy under the attack, on held-out images."""
BATCH = 250


class BestEpoch(keras.callbacks.Callback):
    """After each epoch measures the accuracy under an attack on held-out images, and keeps the weights of the
    best epoch, of several the last; of an average of the weights, once it has begun. Weights after the best
    epoch have begun to fit the training images (robust overfitting, Rice et al., arXiv:2002.11569).

    It comes before the checkpoint. The game must hold a `BestWeights` as the player `BEST_EPOCH`.

    Args:
        attack: what to measure with; its random starts are the same after each epoch.
        net: the classifier.
        x: held-out images.
        y: their labels.
        average: of the weights, or None.
    """

    def __init__(
        self, attack: Attack, net: keras.Model, x: np.ndarray, y: np.ndarray, average: Averaged | None
    ) -> None:
        super().__init__()
        self.net, self.average = net, average
        self.accuracy = robust_accuracy(attack, net, x, y, BATCH)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        kept: BestWeights = self.model.players[BEST_EPOCH]
        with self._averaged():
            accuracy = self.accuracy()
            if accuracy >= kept.accuracy:
                kept.keep(self.net, accuracy, epoch)
        if logs is not None:
            logs[ROBUST_ACCURACY] = accuracy

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """While the context is open, the net has the average of its weights, where there is one."""
        begun = (
            self.average is not None and int(ops.convert_to_numpy(self.model.step_count)) > self.average.begin
        )
        if not begun or self.average is None:
            yield
            return
        before = self.net.get_weights()
        self.average.restore(self.net)
        try:
            yield
        finally:
            self.net.set_weights(before)
