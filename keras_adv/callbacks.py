"""Keras callbacks of a run: resume, history, the order of the batches."""

from __future__ import annotations

import csv
import math
import os
import time
from pathlib import Path
from typing import Any

import keras

from keras_adv.data import Batches


class Checkpoint(keras.callbacks.Callback):
    """Saves everything a run needs to go on, atomically, after each epoch.

    One file an epoch, `epoch-0007.weights.h5` (weights of all players, optimizers, counters and random
    streams), renamed into place when complete; a kill at any moment leaves the last complete one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def latest(self) -> tuple[int, Path | None]:
        """(epochs finished, the file), (0, None) when there is none."""
        found = sorted(self.folder.glob("epoch-*.weights.h5"))
        return (int(found[-1].name[6:10]), found[-1]) if found else (0, None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        old = sorted(self.folder.glob("epoch-*.weights.h5"))
        part = self.folder / "part.weights.h5"
        self.model.save_weights(part, overwrite=True)
        os.replace(part, self.folder / f"epoch-{epoch + 1:04d}.weights.h5")
        for path in old:
            path.unlink()


class History(keras.callbacks.Callback):
    """history.csv: a row an epoch with its seconds, rewritten whole each time, so phases may log different terms."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []

    def resume(self, epoch: int) -> None:
        """Keeps the rows of earlier epochs from an interrupted run."""
        if self.path.is_file():
            with self.path.open(newline="") as file:
                read = [{k: float(v) for k, v in r.items() if v} for r in csv.DictReader(file)]
            self.rows = [{**row, "epoch": int(row["epoch"])} for row in read if row["epoch"] < epoch]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = round(time.perf_counter() - self.began, 1)
        self.rows.append(
            {"epoch": epoch, "seconds": seconds, **{k: float(v) for k, v in (logs or {}).items()}}
        )
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        part = self.path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(part, self.path)


class Order(keras.callbacks.Callback):
    """Gives each epoch its own order of the images, the same in a resumed run."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.batches.turn(epoch)


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run with an error, before the checkpoint is overwritten, when a loss term is not finite."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        bad = [name for name, value in (logs or {}).items() if not math.isfinite(float(value))]
        if bad:
            raise FloatingPointError(
                f"Training diverged in epoch {epoch + 1}: {', '.join(bad)} not finite. Lower the learning "
                "rate or the weight of the defense; the last finite epoch is kept."
            )
