"""What a training leaves behind to go on with, and how it is told from what belongs to another."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_adv import validate
from keras_adv.backend import process
from keras_adv.files import remove, write_text
from keras_adv.fingerprint import sha256

_NAME = re.compile(r"epoch-(\d+)\.weights\.h5")
_OURS = re.compile(r"epoch-\d+\.(weights\.h5|json|json\.part)|part\.weights\.h5")
_PART = "part.weights.h5"


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
        """Seconds of the epochs that earlier calls trained."""

    def resume(self, rows: list[dict[str, float]]) -> None:
        """Goes on after these rows, whatever the file holds."""
        self.rows, self.earlier = rows, sum(row.get("seconds", 0.0) for row in rows)
        self.write()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = round(time.perf_counter() - self.began, 1)
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


class Checkpoint(keras.callbacks.Callback):
    """Saves everything a run needs to go on, atomically, after each epoch.

    Two files an epoch: `epoch-0007.weights.h5` (weights of all players, optimizers, counters and random
    streams) and `epoch-0007.json`, which says of which run and epoch the first is, its sha256 and the rows of
    the history so far. Both are renamed into place when complete; a kill at any moment leaves the last
    complete pair.

    Args:
        folder: where the files are written.
        history: whose rows are kept and given back.
    """

    def __init__(self, folder: Path, history: History | None = None) -> None:
        super().__init__()
        self.folder, self.history = Path(folder), history
        self.run: dict[str, Any] = {}

    def latest(self) -> tuple[int, Path | None]:
        """(epochs finished, the file) by the names of the files, (0, None) when there is none."""
        return max(self._saved().items(), default=(0, None))

    def restore(self, game: keras.Model, run: Mapping[str, Any], epochs: int) -> int:
        """Puts `game` and the history where the last epoch of this run left them. Returns the epochs done.

        Args:
            game: compiled as in the first call.
            run: what the run is: names and values fit for JSON.
            epochs: asked for.

        Raises:
            InvalidInput: the files are damaged, or of another run, or ahead of its epochs.
        """
        self.run = dict(run)
        epoch, saved = self.latest()
        if saved is None:
            return 0
        about = self._about(epoch)
        if about is None or about["epoch"] != epoch or about["sha256"] != sha256(saved):
            raise self._unusable(f"{saved}, which is damaged or renamed")
        differs = [name for name, value in self.run.items() if about["run"].get(name) != value]
        if differs:
            theirs = ", ".join(f"{name} {about['run'].get(name)!r}" for name in differs)
            raise self._unusable(f"{saved}, of another run: {theirs}")
        if epoch > epochs:
            raise self._unusable(f"{saved}, ahead of the {epochs} epochs asked for")
        try:
            game.load_state(saved)
        except (OSError, KeyError, ValueError) as error:
            raise self._unusable(f"{saved}, which does not fit") from error
        if self.history is not None:
            self.history.resume(about["rows"])
        return epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if process()[0]:  # of several the first keeps what all have
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        old = self._saved()
        file = self._file(epoch + 1)
        part = self.folder / _PART
        self.model.save_state(part)
        rows = [] if self.history is None else self.history.rows
        about = {"epoch": epoch + 1, "run": self.run, "sha256": sha256(part), "rows": rows}
        write_text(self._beside(epoch + 1), json.dumps(about) + "\n")
        os.replace(part, file)
        for number in set(old) - {epoch + 1}:
            self._remove(number)

    def clear(self) -> None:
        """Removes the files, and the folder if nothing else is in it."""
        remove(self.folder, _OURS)

    def _saved(self) -> dict[int, Path]:
        found = [(p, _NAME.fullmatch(p.name)) for p in self.folder.glob("epoch-*.weights.h5")]
        return {int(match[1]): p for p, match in found if match}

    def _about(self, epoch: int) -> dict[str, Any] | None:
        """What the file beside the weights says; None where it is missing or damaged."""
        try:
            about = json.loads(self._beside(epoch).read_text())
            kinds = {"epoch": int, "run": dict, "sha256": str, "rows": list}
            return about if all(isinstance(about[name], kind) for name, kind in kinds.items()) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.weights.h5"

    def _beside(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.json"

    def _remove(self, epoch: int) -> None:
        self._file(epoch).unlink(missing_ok=True)
        self._beside(epoch).unlink(missing_ok=True)

    def _unusable(self, found: str) -> validate.InvalidInput:
        return validate.unusable(
            "callbacks",
            "a Checkpoint whose files belong to this run",
            f"{found}; take another folder, or delete it to start anew",
        )
