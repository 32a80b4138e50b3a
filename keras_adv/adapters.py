"""Any Keras classifier as attacks and trainings want it: images in [0, 1] -> logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor
from keras_adv.classifier import own_scale
from keras_adv.layers import LogitsOf

TINY = 1e-37
"""The least probability that has a logarithm in float32, near enough."""


def as_classifier(
    model: keras.Model,
    *,
    bounds: Sequence[float] = (0.0, 1.0),
    preprocess: Callable[[Tensor], Tensor] | None = None,
    output: str | int | None = None,
    shape: Sequence[int] | None = None,
    channels_first: bool = False,
    probabilities: bool = False,
) -> keras.Model:
    """A model around `model`, of its very layers, that takes images in [0, 1] and returns logits.

    Images are brought to the range that `model` takes, its last softmax or sigmoid is left out (without it
    gradients do not vanish), and one output z becomes the logits (-z / 2, z / 2) of two classes.

    Args:
        model: any Keras classifier.
        bounds: least and largest value of the pixels it takes: (0, 255) for models that rescale them
            themselves, (-1, 1), ...
        preprocess: what its owner does to images in `bounds` before, in Keras' operations:
            `keras.applications.resnet.preprocess_input`, say, with bounds=(0, 255).
        output: key or number of the output that counts, of a model with several.
        shape: (H, W, C) of the images, for models that take any size, or do not know theirs.
        channels_first: `model` takes images (C, H, W).
        probabilities: it returns softmax or sigmoid values that no layer makes, but an operation or the code
            of a subclassed model: logits are then their logarithms, whose gradients vanish where they come
            near 0 or 1.

    Returns:
        A functional model of images (B, H, W, C).

    Raises:
        InvalidInput: no Keras model, an unknown shape, bounds in the wrong order, or several outputs without
            `output`.

    >>> import keras, keras_adv
    >>> net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255),
    ...     keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")])
    >>> keras_adv.as_classifier(net, bounds=(0, 255)).output_shape
    (None, 10)
    """
    if not isinstance(model, keras.Model):
        raise validate.invalid("model", "a keras.Model", type(model).__name__)
    low, high = _range(bounds)
    taken = _shape(model, shape, channels_first)
    if (low, high) == (0.0, 1.0) and preprocess is None and (scale := own_scale(model)) is not None:
        given = f"(0, 1), for a model that first multiplies images by {scale:.3g}"
        raise validate.unusable("bounds", "(0, 255) for a model that rescales images of 0..255", given)
    x = inputs = keras.Input(taken, dtype="float32", name="images")
    if (low, high) != (0.0, 1.0):
        x = keras.layers.Rescaling(high - low, low, dtype="float32", name="to_bounds")(x)
    x = x if preprocess is None else preprocess(x)
    x = keras.layers.Permute((3, 1, 2), dtype="float32")(x) if channels_first else x
    z = LogitsOf(model, _one_of(model, x, output), name="logits_of")(x)
    if len(z.shape) != 2:
        raise validate.unusable("model", "a model of one output (batch, classes)", f"output {z.shape}")
    if probabilities:
        sure = ops.log(ops.maximum(z, TINY))
        z = sure - ops.log(ops.maximum(1.0 - z, TINY)) if z.shape[1] == 1 else sure
    if z.shape[1] == 1:
        z = ops.concatenate([-z / 2, z / 2], axis=1)
    return keras.Model(inputs, z, name=model.name)


def _range(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in bounds)
    except (TypeError, ValueError) as error:
        raise validate.invalid("bounds", "two numbers, (0, 255) say", bounds) from error
    if not (low < high and np.isfinite([low, high]).all()):
        raise validate.invalid("bounds", "the least value, then the largest", bounds)
    return low, high


def _shape(model: keras.Model, given: Sequence[int] | None, channels_first: bool) -> tuple[int, int, int]:
    """(H, W, C) of the images of a model: as given, or its own."""
    own = getattr(model, "input_shape", None)
    own = own[1:] if isinstance(own, tuple) and len(own) == 4 else None
    if own is not None and channels_first:
        own = (*own[1:], own[0])
    found = tuple(given) if isinstance(given, Sequence) else own if given is None else None
    if found is None or len(found) != 3 or None in found:
        raise validate.invalid("shape", f"(H, W, C) of the images, for a model that takes {own}", given)
    return found


def _one_of(model: keras.Model, x: Any, output: str | int | None) -> str | int | None:
    """`output`, checked against what the model returns."""
    if not model.built:
        model(ops.zeros((1, *x.shape[1:])))
    made = model.compute_output_spec(x)
    if not isinstance(made, (dict, list, tuple)):
        if output is not None:
            raise validate.invalid("output", "none for a model of one output", output)
        return None
    validate.one_of("output", output, made if isinstance(made, dict) else range(len(made)))
    return output
