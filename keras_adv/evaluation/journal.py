"""What an evaluation has finished, on disk, so that a killed one goes on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv.evaluation.slots import Finished

EVERY = 20.0  # seconds between two writes


class Journal:
    """Finished images of one attack, appended in parts to files of a folder; a Journal with the same identity
    reads them back.

    Args:
        folder: where; None keeps nothing.
        identity: all that a result depends on: model, arrays, words.
    """

    def __init__(self, folder: Path | None, *identity: Any) -> None:
        self.folder, self.written = folder, time.perf_counter()
        self.key = fingerprint(*identity) if folder is not None else ""
        self.waiting: list[Finished] = []

    def known(self) -> list[Finished]:
        """What earlier runs finished."""
        if self.folder is None:
            return []
        parts = []
        for file in sorted(self.folder.glob(f"{self.key}-*.npz")):
            # a file that somebody else damaged costs its images a second attack, no more
            broken = contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)
            with broken, np.load(file, allow_pickle=False) as part:
                parts.append(Finished(part["index"], part["images"], part["rounds"]))
        return parts

    def add(self, finished: Finished) -> None:
        """Keeps finished images; writes them when the last write is more than `EVERY` seconds ago."""
        if self.folder is not None:
            self.waiting.append(finished)
            if time.perf_counter() - self.written > EVERY:
                self.write()

    def write(self) -> None:
        """Appends what waits. A file is there as a whole or not at all."""
        if not self.waiting or self.folder is None:
            return
        whole = Finished(*(np.concatenate(column) for column in zip(*self.waiting, strict=True)))
        path = self.folder / f"{self.key}-{time.time_ns()}.npz"
        partial = path.with_suffix(".tmp")
        with partial.open("wb") as file:
            np.savez(file, index=whole.rows, images=whole.images, rounds=whole.rounds)
        os.replace(partial, path)
        self.waiting, self.written = [], time.perf_counter()


def fingerprint(*identity: Any) -> str:
    """A hash of arrays, words and models' weights."""
    digest = hashlib.sha256()
    for item in identity:
        if isinstance(item, keras.Model):
            with contextlib.suppress(NotImplementedError, TypeError):  # a subclass without a config
                digest.update(item.to_json().encode())
            digest.update(fingerprint(*item.get_weights()).encode())
        elif isinstance(item, np.ndarray):
            digest.update(str((item.shape, item.dtype)).encode() + np.ascontiguousarray(item).tobytes())
        else:
            digest.update(repr(item).encode())
    return digest.hexdigest()[:24]
