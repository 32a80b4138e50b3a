"""The table of a training that grows by a row an epoch."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv import foreign
from keras_adv.backend import process
from keras_adv.callbacks.best import ROBUST_ACCURACY
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


def rows_of(path: Path) -> list[dict[str, float]]:
    """The rows that a history.csv has, as `History.rows`. Raises InvalidInput where it has others."""
    with foreign.reading("history", "a history.csv of a training", path), path.open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"]), "seconds": row["seconds"]} for row in rows]


def thinned(
    rows: Sequence[Mapping[str, float]], names: Sequence[str], most: int = 12
) -> list[dict[str, Any]]:
    """Some rows of a history for a card: the first, the last, others evenly between, at most so many; and the
    best epoch, of those that are measured under attack.

    Args:
        rows: of a `History`.
        names: what to keep of each row, where it has it.
        most: how many.

    Returns: {"epoch" from 1, "seconds" up to its end, and what is kept, to five digits}.
    """
    ends = np.cumsum([row.get("seconds", 0.0) for row in rows])
    chosen = {round(k) for k in np.linspace(0, len(rows) - 1, min(most, len(rows)))}
    robust = [(row[ROBUST_ACCURACY], number) for number, row in enumerate(rows) if ROBUST_ACCURACY in row]
    chosen |= {number for _, number in sorted(robust)[-1:]}
    found = []
    for number in sorted(chosen):
        kept = {name: _rounded(rows[number][name]) for name in names if name in rows[number]}
        known = {name: value for name, value in kept.items() if math.isfinite(value)}
        seconds = round(float(ends[number]), 1)
        found.append({"epoch": int(rows[number]["epoch"]) + 1, "seconds": seconds, **known})
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
