"""An end of a training that is asked for from outside."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_adv.callbacks.checkpoint import Checkpoint


class StopAfterStep(keras.callbacks.Callback):
    """Ctrl-C and SIGTERM let the step in progress end, so that nothing is written by half; the weights of the
    model are those of that step, which checkpoints keep. A second signal acts at once.

    Raises KeyboardInterrupt for Ctrl-C and SystemExit(143) for SIGTERM, at the end of the step.

    Args:
        checkpoints: what saves the step.
    """

    caught: int | None = None

    def __init__(self, checkpoints: Sequence[Checkpoint] = ()) -> None:
        super().__init__()
        self.checkpoints = checkpoints

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While the context is open, the signals are waited for; not in other threads than the main one, to
        which alone Python gives signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {int(n): signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, frame: Any) -> None:
            self.caught = number
            signal.signal(number, before[number] or signal.SIG_DFL)

        try:
            for number in before:
                signal.signal(number, note)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Ends the training where a signal has come."""
        if self.caught is not None:
            for checkpoint in self.checkpoints:
                checkpoint.save_step()
        if self.caught == signal.SIGINT:
            raise KeyboardInterrupt
        if self.caught is not None:
            raise SystemExit(128 + self.caught)
