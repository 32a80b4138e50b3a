"""What a training tells while it runs, beside what Keras prints."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import keras

EVERY = 60.0
"""Seconds between two lines."""


class Progress(keras.callbacks.Callback):
    """Says that the step is being compiled and, where no bar is drawn, how far an epoch has come every so
    often.

    Args:
        what: the name of what is trained.
        verbose: as in `keras.Model.fit`; "auto" is 1 on a terminal, else 2.
    """

    def __init__(self, what: str, verbose: int | str = "auto") -> None:
        super().__init__()
        self.verbose = (1 if sys.stdout.isatty() else 2) if verbose == "auto" else int(verbose)
        self.what = what
        self.begun = False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self.begun and self.verbose:
            print(f"compiling a training step of {self.what} ...", flush=True)
        self.begun = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.since, self.told = epoch, time.monotonic(), time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now, steps = time.monotonic(), (self.params or {}).get("steps")
        if self.verbose != 2 or now - self.told < EVERY or not steps:
            return
        self.told = now
        left = timedelta(seconds=round((now - self.since) / (batch + 1) * (steps - batch - 1)))
        terms = ", ".join(f"{name} {float(value):.4g}" for name, value in (logs or {}).items())
        epochs = (self.params or {}).get("epochs")
        print(
            f"epoch {self.epoch + 1}/{epochs}: step {batch + 1} of {steps}, {left} left, {terms}", flush=True
        )
