"""How a net answers, asked anew: whether what is compiled for it is still what it computes, and whether an
image's answer is its own."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_adv.backend import FrozenNet
from keras_adv.evaluation import compiled
from keras_adv.validate import InvalidInput

SAMPLE = 4
"""Images asked about; as many more lie beside them in the batch."""


def check(model: keras.Model, x: np.ndarray) -> bool:
    """Whether the model is random, whatever draws its numbers. Forgets what is compiled for it where it
    answers otherwise than the model does now.

    Cost: 6 passes of 8 images; 8 where the model has random streams of its own.

    Raises:
        InvalidInput: the answers for an image depend on the images beside it in the batch, or on Keras'
            global seed.
    """
    compiled.forget_other_settings(model)
    asked = np.resize(x[:SAMPLE], (SAMPLE, *x.shape[1:]))
    first, second = (np.concatenate([asked, beside(seed, x.shape[1:])]) for seed in (1, 2))
    now = fresh(model, first)
    bound = _tolerance(model) * max(1.0, float(np.abs(now).max()))
    if not np.isfinite(now).all():
        return False
    # two draws of its own streams; two calls, of a source that has no streams
    if FrozenNet(model).draws and _differ(*(fresh(model, first, draw) for draw in (1, 2))):
        return True
    if _differ(now, fresh(model, first)):
        return True  # no answer can be compared with another
    # two plain calls, of a net whose own streams draw nothing
    plain = (np.asarray(model(ops.convert_to_tensor(first), training=False)) for _ in range(2))
    if _differ(*plain):
        raise InvalidInput(
            "`model` must draw its random numbers from a keras.random.SeedGenerator of its own. Received: a "
            "model that draws from Keras' global seed, which stands still while a model is attacked"
        )
    moved = float(np.abs(fresh(model, second) - now)[:SAMPLE].max())
    if moved > bound:
        raise InvalidInput(
            "`model` must answer for each image alone. Received: logits that move by "
            f"{moved:.3g} with the other images of the batch, as by batch normalisation in training "
            "mode; no number of such a net holds for another batch"
        )
    if np.abs(np.asarray(compiled.logits(model)(first)) - now).max() > bound:
        compiled.forget(model)
    return False


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether logits of length 1 differ by more than 1e-4 in sum, AutoAttack's threshold of a random net."""
    gaps = [z / (np.linalg.norm(z, axis=1, keepdims=True) + 1e-10) for z in (one, other)]
    return bool(np.abs(gaps[0] - gaps[1]).sum(1).max() > 1e-4)


def beside(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """(SAMPLE, *shape) uniform noise."""
    return np.random.default_rng(seed).random((SAMPLE, *shape), "float32")


def fresh(model: keras.Model, images: np.ndarray, draw: int | None = None) -> np.ndarray:
    """Logits by a call of the model itself, past all that is compiled; of a numbered draw where it is random
    by Keras' own seeds."""
    return np.asarray(FrozenNet(model)(ops.convert_to_tensor(images), draw))


def _tolerance(model: keras.Model) -> float:
    """Share of the largest logit by which a graph and a call may differ."""
    return 1e-3 if model.compute_dtype == "float32" else 5e-2
