"""What happens at the borders of epochs: another order of the images, another phase, an end where a loss is
not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_adv.batches import Batches
from keras_adv.defenses.base import Phase


class EpochOrder(keras.callbacks.Callback):
    """Gives each epoch its own order of the images, the same in a resumed run."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.set_epoch(epoch)


class PhaseChange(keras.callbacks.Callback):
    """Has a `Game` play the moves of the phase that an epoch belongs to, on images of its size, within one
    `fit`.

    Args:
        phases: those of the defense, in order.
        size: epoch -> (height, width) of its images, or None.
    """

    def __init__(
        self, phases: Sequence[Phase], size: Callable[[int], tuple[int, int] | None] = lambda epoch: None
    ) -> None:
        super().__init__()
        self.phases, self.size = phases, size

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        moves = next(phase.moves for phase in self.phases if epoch < phase.until)
        self.model.play_only(moves, self.size(epoch))


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run with an error, before the checkpoint is overwritten, when a loss term is not finite."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        bad = [name for name, value in (logs or {}).items() if not math.isfinite(float(value))]
        if bad:
            raise FloatingPointError(
                f"Training diverged in epoch {epoch + 1}: {', '.join(bad)} not finite. Lower the learning "
                "rate or the weight of the defense; what was last finite is kept."
            )
