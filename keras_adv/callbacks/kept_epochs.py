"""Keeps the model as it is after chosen epochs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras

from keras_adv import artifact
from keras_adv.backend import process


class KeepEpochs(keras.callbacks.Callback):
    """Writes `epoch-0005.keras`, the model that would be served if the training ended after epoch 5, an
    average of the weights aside.

    It comes before the checkpoint: a kill between the two has the epoch, and its file, made again.

    Args:
        folder: where the files are written.
        epochs: which epochs, from 1 on.
    """

    def __init__(self, folder: Path, epochs: Collection[int]) -> None:
        super().__init__()
        self.folder, self.epochs = Path(folder), frozenset(epochs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 not in self.epochs or process()[0]:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.model.at_rest() as model:
            artifact.write(model, self.folder / f"epoch-{epoch + 1:04d}.keras")
