"""Files from elsewhere: what they declare is compared with their size before memory is taken for it."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_adv.validate import InvalidInput, unusable

EXPANSION = 20
"""A part may declare so many times the bytes that it takes in the file ..."""
ALLOWANCE = 64 * 2**20
"""... and so many bytes more."""
LARGEST_CONFIG = 32 * 2**20
"""Bytes of the largest description of a model."""


@contextlib.contextmanager
def reading(name: str, allowed: str, path: Path) -> Iterator[None]:
    """Turns whatever is raised while a file is read into one InvalidInput with its cause: zipfile, h5py,
    json, NumPy and Keras each have their own errors, and more with each version."""
    try:
        yield
    except InvalidInput:
        raise
    except Exception as error:
        cause = str(error).strip().partition("\n")[0] or type(error).__name__
        raise unusable(name, allowed, f"{str(path)!r}, {cause}") from error


def check_archive(path: Path) -> None:
    """Raises InvalidInput where a .keras file is damaged, or declares far more than it holds.

    Cost: the file is read once, in pieces.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_size(path, member.filename, member.file_size, member.compress_size)
        bad = archive.testzip()
        if bad is not None:
            raise zipfile.BadZipFile(f"{bad} is damaged")
        config = archive.getinfo("config.json").file_size
        if config > LARGEST_CONFIG:
            raise _too_large(path, "config.json", config)
        weights = archive.getinfo("model.weights.h5")
        with archive.open(weights) as file, h5py.File(file, "r") as tree:
            _check_size(path, weights.filename, _declared(tree), weights.file_size)


def check_npz(path: Path) -> None:
    """Raises InvalidInput where an npz file declares far more than it holds. Only headers are read."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                shape, _, dtype = _HEADERS[version](file)
            name = member.filename.removesuffix(".npy")
            _check_size(path, name, math.prod(shape) * dtype.itemsize, member.compress_size, 10 * EXPANSION)


_HEADERS: dict[tuple[int, int], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def check_size(path: Path, part: str, declared: int) -> None:
    """Raises InvalidInput where a file declares far more bytes than its own."""
    _check_size(path, part, declared, path.stat().st_size)


def _declared(tree: h5py.File) -> int:
    """Bytes of all arrays of an HDF5 file, as their shapes say."""
    sizes: list[int] = []
    tree.visititems(lambda _, item: sizes.append(item.nbytes) if isinstance(item, h5py.Dataset) else None)
    return sum(sizes)


def _check_size(path: Path, part: str, declared: int, held: int, expansion: int = EXPANSION) -> None:
    if declared > expansion * held + ALLOWANCE:
        raise _too_large(path, part, declared)


def _too_large(path: Path, part: str, declared: int) -> InvalidInput:
    return InvalidInput(
        f"`{path.name}` must hold what it declares. Received: {part[:60]} of {declared:,} bytes in a file of "
        f"{path.stat().st_size:,}"
    )
