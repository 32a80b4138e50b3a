"""Writing a model file, whole or in half the bytes; reading one, and telling it from a damaged one."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from keras_adv import foreign, layers, models, noise  # noqa: F401  registers the layers that files may name
from keras_adv.validate import InvalidInput

WEIGHTS = "model.weights.h5"
"""The weights, in a .keras file."""


def write(model: keras.Model, path: Path, half: bool = False) -> None:
    """Writes a .keras file, renamed into place when complete.

    Args:
        model: what to write.
        path: of the file.
        half: round the weights of `model` to float16 and keep them so in the file, which then has half the
            bytes; plain Keras reads it, and computes in float32 as before.

    Raises:
        FloatingPointError: a weight is not finite, or with `half` beyond float16; no file is written then.
    """
    if not all(np.isfinite(np.asarray(w)).all() for w in model.get_weights()):
        raise FloatingPointError("Training diverged: weights are not finite. Lower the learning rate.")
    if half:
        with np.errstate(over="ignore"):
            rounded = [_in_half(np.asarray(w)) for w in model.get_weights()]
        if not all(np.isfinite(w).all() for w in rounded):
            raise FloatingPointError("A weight is beyond the range of float16; keep the file in float32.")
        model.set_weights(rounded)
    part = path.with_name("part.keras")
    model.save(part)
    if half:
        _halve(part)
    os.replace(part, path)


def _in_half(w: np.ndarray) -> np.ndarray:
    return w.astype("float16").astype(w.dtype) if w.dtype == np.float32 else w


def _halve(path: Path) -> None:
    """Rewrites a .keras file with every float32 array as float16."""
    with zipfile.ZipFile(path) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members:
            archive.writestr(member, _halved(content) if member.filename == WEIGHTS else content)


def _halved(content: bytes) -> bytes:
    made = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as source, h5py.File(made, "w") as target:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                value = item[()]
                value = value.astype("float16") if item.dtype == np.float32 else value
                into = target.create_dataset(name, data=value)
            else:
                into = target.require_group(name)
            for key, attribute in item.attrs.items():
                into.attrs[key] = attribute

        for key, attribute in source.attrs.items():
            target.attrs[key] = attribute
        source.visititems(copy)
    return made.getvalue()


def read(path: str | Path) -> keras.Model:
    """Loads a .keras file with safe_mode on.

    Raises:
        InvalidInput: the file is missing, damaged, unsafe or declares more than it holds, or its weights are
            not finite.
    """
    path = Path(path)
    with foreign.reading("model", "a complete .keras file", path):
        if not path.is_file():
            raise InvalidInput(f"`model` must be an existing .keras file. Received: {str(path)!r}")
        foreign.check_archive(path)
        model: keras.Model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if not all(np.isfinite(np.asarray(w)).all() for w in model.get_weights()):
        raise InvalidInput(f"`model` must have finite weights. Received: NaN or inf in {str(path)!r}")
    return model


def probe(model: keras.Model, n: int = 2) -> list[list[float]]:
    """Logits on fixed pseudo-random images, rounded to 6 digits; FloatingPointError where they are not
    finite."""
    seeds = noise.seeds(0, np.arange(n, dtype="uint32"))
    images = np.asarray(noise.uniform(seeds, tuple(model.input_shape[1:])))
    logits = np.asarray(model(images, training=False))
    if not np.isfinite(logits).all():
        raise FloatingPointError("Training diverged: logits are not finite. Lower the learning rate.")
    return [[round(float(v), 6) for v in row] for row in logits]
