"""A Keras classifier as a user hands it in: is it one, and are its outputs logits?"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_adv import validate
from keras_adv.validate import InvalidInput


def check_model(model: Any, images: Any = None) -> tuple[tuple[int, ...], int]:
    """(image shape (H, W, C), number of classes) of a Keras classifier.

    Args:
        model: any Keras model. A subclassed one does not say what it takes, an unbuilt one is built: both
            need `images`.
        images: (N, H, W, C) what it is to classify.

    Raises:
        InvalidInput: not a built Keras model with one image input and one output of shape (B, K), K >= 2.
    """
    if not isinstance(model, keras.Model):
        raise validate.invalid("model", "a keras.Model", type(model).__name__)
    shape, out = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if images is not None and (not model.built or shape is None):
        shape, out = _traced(model, np.asarray(images))
    if not model.built:
        raise validate.invalid("model", "built: call it once on a batch of images", model.name)
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        hint = "keras_adv.as_classifier(model, shape=(H, W, C)) gives any model a size"
        raise validate.unusable("model", "a model of one input (batch, H, W, C)", f"input {shape}; {hint}")
    if not isinstance(out, tuple) or len(out) != 2 or out[1] is None or out[1] < 2:
        hint = "keras_adv.as_classifier(model) makes logits of a single output, or of one of several"
        raise validate.unusable("model", "a model of one output (batch, classes)", f"output {out}; {hint}")
    if (scale := own_scale(model)) is not None:
        hint = "keras_adv.as_classifier(model, bounds=(0, 255)) takes those"
        raise validate.unusable(
            "model", "a model of images in [0, 1]", f"one that first multiplies them by {scale:.3g}; {hint}"
        )
    return tuple(shape[1:]), int(out[1])


def own_scale(model: Any) -> float | None:
    """The factor of a Rescaling layer that the images of a model go to first, where it is one of images of
    0..255; layers that augment images in training do not count."""
    inputs = getattr(model, "inputs", None)
    at = inputs[0] if inputs else None
    for layer in getattr(model, "layers", []) if inputs else []:
        nodes = [node for node in layer._inbound_nodes if any(one is at for one in node.input_tensors)]
        if not nodes:
            continue
        if isinstance(layer, keras.Model):
            return own_scale(layer)
        if isinstance(layer, keras.layers.Rescaling):
            scale = float(np.max(layer.scale))
            return scale if 0 < scale < 0.02 else None
        if not (isinstance(layer, keras.layers.Identity) or type(layer).__name__.startswith("Random")):
            return None
        at = nodes[0].outputs[0]
    return None


def _traced(model: keras.Model, images: np.ndarray) -> tuple[Any, Any]:
    """(input shape, output shape) as the model answers these images. Builds it."""
    try:
        if not model.built:
            model(images[:1].astype("float32"))
        given = keras.KerasTensor((None, *images.shape[1:]), "float32")
        made = model.compute_output_spec(given)
    except Exception as error:  # whatever the author's own `call` raises
        raise validate.unusable(
            "model", f"a model of images of shape {images.shape[1:]}", f"{type(error).__name__}: {error}"
        ) from error
    return (None, *images.shape[1:]), getattr(made, "shape", None)


def as_functional(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """The model itself where Keras knows its graph, else a functional one around it, for images (H, W, C)."""
    if getattr(model, "inputs", None):
        return model
    inputs = keras.Input(shape)
    return keras.Model(inputs, model(inputs), name=model.name)


def check_logits(logits: np.ndarray) -> None:
    """Raises InvalidInput where outputs (N, K) are NaN, infinite, or squeezed into [0, 1] instead of
    logits."""
    if not np.isfinite(logits).all():
        raise InvalidInput(
            f"`model` must return finite logits. Received: NaN or inf for "
            f"{int((~np.isfinite(logits).all(1)).sum())} of {len(logits)} images"
        )
    if logits.min() < 0 or logits.max() > 1 or np.ptp(logits) == 0:
        return
    # half precision rounds a softmax to 3 digits
    sums_to_one = np.allclose(logits.sum(1), 1, atol=1e-4 + 2e-3 * logits.shape[1])
    what = (
        "probabilities (rows in [0, 1] that sum to 1)" if sums_to_one else "values in [0, 1], as of sigmoids"
    )
    raise InvalidInput(
        f"`model` must return logits. Received: {what}; their gradients vanish and attacks would look weak. "
        "keras_adv.as_classifier(model) is the model without its final softmax or sigmoid; of one "
        "that no layer computes, probabilities=True takes the logarithm."
    )
