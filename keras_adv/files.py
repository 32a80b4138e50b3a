"""Files as the package writes them: whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from keras_adv.validate import unusable

LOCK = ".lock"
"""The file by which a folder is known to be in use. It stays; what counts is who holds it."""


def write_text(path: Path, text: str) -> None:
    """Writes a file beside `path` and renames it into place: a kill or a full disk leaves the one before."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def sole_use(folder: Path, name: str = "out") -> Iterator[None]:
    """Holds a folder, which must be there, for this process; the hold ends with the process, however it ends.

    Raises:
        InvalidInput: another process, or another call of this one, holds it.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise unusable(name, "a folder that no other process is using", f"{folder}, in use") from error
    try:
        yield
    finally:
        lock.release()
