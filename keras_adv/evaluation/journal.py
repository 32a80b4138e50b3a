"""What an evaluation has finished, on disk, so that a killed one goes on."""

from __future__ import annotations

import os
import re
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from keras_adv.evaluation.slots import Finished
from keras_adv.files import remove
from keras_adv.fingerprint import fingerprint

EVERY = 20.0  # seconds between two writes


class Journal:
    """Finished images of one attack, appended in parts to files of a folder; a Journal with the same identity
    and nearly the same answers reads them back.

    Args:
        folder: where; None keeps nothing.
        answers: logits of the model on some images, which another machine rounds otherwise.
        identity: all else that a result depends on: model, arrays, words.
    """

    def __init__(self, folder: Path | None, answers: np.ndarray, *identity: Any) -> None:
        self.folder, self.answers, self.written = folder, answers, time.perf_counter()
        self.key = fingerprint(*identity) if folder is not None else ""
        self.waiting: list[Finished] = []

    def known(self) -> list[Finished]:
        """What earlier runs finished."""
        if self.folder is None:
            return []
        read = [self._read(file) for file in sorted(self.folder.glob(f"{self.key}-*.npz"))]
        return [part for part in read if part is not None]

    def _read(self, file: Path) -> Finished | None:
        """What a file holds; None where it is not as it was written, which costs a second attack."""
        try:
            with np.load(file, allow_pickle=False) as part:
                read, theirs = Finished(part["index"], part["images"], part["rounds"]), part["answers"]
                whole = str(part["checksum"]) == fingerprint(self.key, theirs, *read)
                return read if whole and np.allclose(theirs, self.answers, 1e-2, 1e-2) else None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, MemoryError):
            return None

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
            checksum = np.array(fingerprint(self.key, self.answers, *whole))
            np.savez(
                file,
                index=whole.rows,
                images=whole.images,
                rounds=whole.rounds,
                answers=self.answers,
                checksum=checksum,
            )
        os.replace(partial, path)
        self.waiting, self.written = [], time.perf_counter()


def clear(folder: Path) -> None:
    """Removes the files of all journals in a folder, and the folder if nothing else is in it."""
    remove(folder, re.compile(r"[0-9a-f]{24}-\d+\.(npz|tmp)"))
