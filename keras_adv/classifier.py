"""A Keras classifier as a user hands it in: is it one, and are its outputs logits?"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_adv import validate
from keras_adv.validate import InvalidInput


def check_model(model: Any) -> tuple[tuple[int, ...], int]:
    """(image shape (H, W, C), number of classes) of a Keras classifier.

    Raises:
        InvalidInput: not a built Keras model with one image input and one output of shape (B, K), K >= 2.
    """
    if not isinstance(model, keras.Model):
        raise validate.invalid("model", "a keras.Model", type(model).__name__)
    if not model.built:
        raise validate.invalid("model", "built: call it once on a batch of images", model.name)
    shape, out = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise validate.unusable("model", "a model of one input (batch, H, W, C)", f"input {shape}")
    if not isinstance(out, tuple) or len(out) != 2 or out[1] is None or out[1] < 2:
        raise validate.unusable("model", "a model of one output (batch, classes)", f"output {out}")
    return tuple(shape[1:]), int(out[1])


def check_logits(logits: np.ndarray) -> None:
    """Raises InvalidInput where outputs (N, K) are NaN, infinite, or probabilities instead of logits."""
    if not np.isfinite(logits).all():
        raise InvalidInput(
            f"`model` must return finite logits. Received: NaN or inf for "
            f"{int((~np.isfinite(logits).all(1)).sum())} of {len(logits)} images"
        )
    sums = logits.sum(1)
    if logits.min() >= 0 and logits.max() <= 1 and np.allclose(sums, 1, atol=1e-4):
        raise InvalidInput(
            "`model` must return logits. Received: probabilities (rows in [0, 1] that sum to 1); their "
            "gradients vanish and attacks would look weak. Use the model without its final softmax."
        )


def feature_layer(model: keras.Model) -> keras.layers.Layer:
    """The layer named "features". Raises InvalidInput where a model has none."""
    names = [layer.name for layer in model.layers]
    if "features" not in names:
        raise validate.invalid("model", "a model with a layer named 'features'", names)
    return model.get_layer("features")
