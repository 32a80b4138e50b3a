"""Reading a model file, and telling it from a damaged one."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from keras_adv import foreign, layers, models, noise  # noqa: F401  registers the layers that files may name
from keras_adv.validate import InvalidInput


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
