"""Files as the package writes them: whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import filelock

from keras_adv.validate import unusable

LOCK = ".lock"
"""The file by which a folder is known to be in use. It stays; what counts is who holds it."""


def write_text(path: Path, text: str) -> None:
    """Writes a file beside `path` and renames it into place: a kill or a full disk leaves the one before."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def remove(folder: Path, names: re.Pattern[str]) -> None:
    """Removes the files of these names, and the folder if nothing else is in it."""
    if folder.is_dir():
        for file in folder.iterdir():
            if names.fullmatch(file.name):
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Holds a folder, which must be there, for this process; the hold ends with the process, however it ends.

    Raises:
        InvalidInput: another process, or another call of this one, holds it.
    """
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise unusable("out", "a folder that no other process is using", f"{folder}, in use") from error
    try:
        yield
    finally:
        lock.release()
