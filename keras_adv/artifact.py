"""Reading a model file, and telling it from a damaged one."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras
import numpy as np

from keras_adv import layers, models, noise  # noqa: F401  registers the layers that files may name
from keras_adv.validate import InvalidInput


def read(path: str | Path) -> keras.Model:
    """Loads a .keras file with safe_mode on. Raises InvalidInput when missing, damaged or unsafe."""
    path = Path(path)
    if not path.is_file():
        raise InvalidInput(f"`model` must be an existing .keras file. Received: {str(path)!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
        if bad is not None:
            raise zipfile.BadZipFile(f"{bad} is damaged")
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (zipfile.BadZipFile, OSError, KeyError, ValueError, TypeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(
            f"`model` must be a complete .keras file: {text}. Received: {str(path)!r}"
        ) from error
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
