"""What a training leaves behind to go on with, and how it is told from what belongs to another."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import validate
from keras_adv.backend import process
from keras_adv.callbacks.history import History
from keras_adv.files import remove, write_text
from keras_adv.fingerprint import sha256

_NAME = re.compile(r"epoch-(\d+)(?:\.step-(\d+))?\.weights\.h5")
_OURS = re.compile(r"epoch-\d+(\.step-\d+)?\.(weights\.h5|json|json\.part)|part\.weights\.h5")
_KINDS = {
    "epoch": int,
    "step": int,
    "run": dict,
    "sha256": str,
    "rows": list,
    "logs": dict,
    "means": dict,
    "seconds": float,
}
_PART = "part.weights.h5"


class Point(NamedTuple):
    """How far a training has come: so many whole epochs, and steps of the next."""

    epoch: int
    step: int = 0

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"epoch-{self.epoch:04d}" + (f".step-{self.step:06d}" if self.step else "")


class Checkpoint(keras.callbacks.Callback):
    """Saves everything a run needs to go on, atomically, after each epoch, and within a long one.

    Two files: `epoch-0007.weights.h5` (weights of all players, optimizers, counters and random streams) and
    `epoch-0007.json`, which says of which run and epoch the first is, its sha256 and the rows of the history
    so far; within the eighth epoch `epoch-0007.step-000350`. Both are renamed into place when complete; a
    kill at any moment leaves the last complete pair. A run that goes on within an epoch draws the batches
    before that step again without training on them, so what yields batches must yield the same.

    Args:
        folder: where the files are written.
        history: whose rows are kept and given back.
        every: seconds of an epoch after which it is saved within; 0: after each step.
    """

    def __init__(self, folder: Path, history: History | None = None, every: float = 600.0) -> None:
        super().__init__()
        self.folder, self.history, self.every = Path(folder), history, every
        self.run: dict[str, Any] = {}
        self.last, self.epoch, self.reached = time.monotonic(), 0, 0
        self.passes_over: Callable[[], int] = lambda: 0
        self.logs: dict[str, float] = {}

    def latest(self) -> tuple[int, Path | None]:
        """(epochs finished, the file) by the names of the files, (0, None) when there is none."""
        point, file = self.furthest()
        return point.epoch, file

    def furthest(self) -> tuple[Point, Path | None]:
        """As `latest`, with the steps of the next epoch."""
        return max(self._saved().items(), default=(Point(0), None))

    def restore(self, game: keras.Model, run: Mapping[str, Any], epochs: int) -> int:
        """Puts `game` and the history where the last file of this run left them. Returns the epochs done.

        Args:
            game: compiled as in the first call.
            run: what the run is: names and values fit for JSON.
            epochs: asked for.

        Raises:
            InvalidInput: the files are damaged, or of another run, or ahead of its epochs.
        """
        self.run = dict(run)
        # `self.model` would bring JAX's state back into the variables, after each step
        self.passes_over = lambda: game.passes_over
        point, saved = self.furthest()
        if saved is None:
            return 0
        about = self._about(point)
        if about is None or Point(about["epoch"], about["step"]) != point or about["sha256"] != sha256(saved):
            raise self._unusable(f"{saved}, which is damaged or renamed")
        differs = [name for name, value in self.run.items() if about["run"].get(name) != value]
        if differs:
            theirs = ", ".join(f"{name} {about['run'].get(name)!r}" for name in differs)
            raise self._unusable(f"{saved}, of another run: {theirs}")
        if point > (epochs, 0):
            raise self._unusable(f"{saved}, ahead of the {epochs} epochs asked for")
        try:
            game.load_state(saved)
            if point.step:
                game.means = about["means"]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise self._unusable(f"{saved}, which does not fit") from error
        game.pass_over(point.step, about["logs"])
        if self.history is not None:
            self.history.resume(about["rows"], about["seconds"])
        return point.epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.last, self.epoch, self.reached = time.monotonic(), epoch, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.reached = 0 if self.passes_over() else batch + 1
        self.logs = logs or {}
        if time.monotonic() - self.last >= self.every:
            self.save_step()

    def save_step(self) -> None:
        """Saves within an epoch, where a step has been made that is not saved; nothing that has diverged."""
        self.last = time.monotonic()
        if (
            process()[0]
            or not self.reached
            or (point := Point(self.epoch, self.reached)) <= self.furthest()[0]
        ):
            return
        logs = {name: float(value) for name, value in self.logs.items()}
        if np.isfinite([*logs.values()]).all() and self.model.is_finite():
            self._save(point, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.reached = 0
        self._save(Point(epoch + 1), {})

    def _save(self, point: Point, logs: dict[str, float]) -> None:
        if process()[0]:  # of several the first keeps what all have
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        old = self._saved()
        part = self.folder / _PART
        self.model.save_state(part)
        rows = [] if self.history is None else self.history.rows
        seconds = self.history.elapsed if self.history is not None and point.step else 0.0
        about = {
            **point._asdict(),
            "run": self.run,
            "sha256": sha256(part),
            "rows": rows,
            "logs": logs,
            "means": self.model.means if point.step else {},
            "seconds": seconds,
        }
        write_text(self._beside(point), json.dumps(about) + "\n")
        os.replace(part, self._file(point))
        for other in set(old) - {point}:
            self._file(other).unlink(missing_ok=True)
        for left in self.folder.glob("epoch-*.json"):  # also what a kill has left without its weights
            if _OURS.fullmatch(left.name) and left != self._beside(point):
                left.unlink()

    def clear(self) -> None:
        """Removes the files, and the folder if nothing else is in it."""
        remove(self.folder, _OURS)

    def _saved(self) -> dict[Point, Path]:
        found = [(p, _NAME.fullmatch(p.name)) for p in self.folder.glob("epoch-*.weights.h5")]
        return {Point(int(match[1]), int(match[2] or 0)): p for p, match in found if match}

    def _about(self, point: Point) -> dict[str, Any] | None:
        """What the file beside the weights says; None where it is missing or damaged."""
        try:
            about = {
                "step": 0,
                "logs": {},
                "means": {},
                "seconds": 0.0,
                **json.loads(self._beside(point).read_text()),
            }
            return about if all(isinstance(about[name], kind) for name, kind in _KINDS.items()) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _file(self, point: Point) -> Path:
        return self.folder / f"{point.stem}.weights.h5"

    def _beside(self, point: Point) -> Path:
        return self.folder / f"{point.stem}.json"

    def _unusable(self, found: str) -> validate.InvalidInput:
        return validate.unusable(
            "callbacks",
            "a Checkpoint whose files belong to this run",
            f"{found}; take another folder, or delete it to start anew",
        )
