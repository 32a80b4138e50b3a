"""The table of a training that grows by a row an epoch."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import keras

from keras_adv.backend import process
from keras_adv.files import write_text


class History(keras.callbacks.Callback):
    """history.csv: a row an epoch with its seconds, rewritten whole each time, so phases may log different
    terms.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.earlier = 0.0
        """Seconds that earlier calls trained."""
        self.began = time.perf_counter()
        self.begun = 0.0

    def resume(self, rows: list[dict[str, float]], begun: float = 0.0) -> None:
        """Goes on after these rows, whatever the file holds, and so many seconds of the next epoch."""
        self.rows, self.begun = rows, begun
        self.earlier = begun + sum(row.get("seconds", 0.0) for row in rows)
        self.write()

    @property
    def elapsed(self) -> float:
        """Seconds of the epoch in progress."""
        return time.perf_counter() - self.began

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began, self.begun = time.perf_counter() - self.begun, 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = round(self.elapsed, 1)
        self.rows.append(
            {"epoch": epoch, "seconds": seconds, **{k: float(v) for k, v in (logs or {}).items()}}
        )
        self.write()

    def write(self) -> None:
        """Writes the file anew, whole."""
        if process()[0]:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = io.StringIO()
        writer = csv.DictWriter(lines, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, lines.getvalue())
