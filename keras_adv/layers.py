"""Keras layers that are saved in model files, and how a net gets them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import noise, validate
from keras_adv.arrays import Tensor
from keras_adv.classifier import feature_layer
from keras_adv.numerics.simplex import simplex


@keras.saving.register_keras_serializable(package="keras_adv")
class Noise(keras.layers.Layer):
    """Adds N(0, stddev^2), in training and in inference, fresh for each image and each call.

    Keras' GaussianNoise is silent in inference; the critic's noise is always on (thesis 4.5). The
    stream is the same on every backend.

    Args:
        stddev: standard deviation in units of the input, at least 0.
        seed: start of the stream.
    """

    def __init__(self, stddev: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        validate.number("stddev", stddev, low=0)
        self.stddev, self.seed = stddev, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor) -> Tensor:
        state = ops.cast(self.generator.next(), "uint32")
        keys = noise.seeds(noise.fold(state[0], state[1]), ops.arange(ops.shape(inputs)[0]))
        drawn = noise.normal(keys, tuple(inputs.shape[1:]))
        return inputs + self.stddev * ops.cast(drawn, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}


class CentreHead(keras.layers.Layer):
    """Base of the heads: `centres` (classes, D) of length `scale`, saved with the model and never trained.

    Args:
        classes: number of logits, at least 2.
        scale: length C of the centres, above 0.
    """

    def __init__(self, classes: int, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        validate.number("classes", classes, low=2, whole=True)
        validate.number("scale", scale, above=0.0)
        self.classes, self.scale = classes, scale

    def build(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 2 or input_shape[1] is None:
            raise validate.invalid("features", "of shape (B, D)", tuple(input_shape))
        centres = simplex(self.classes, input_shape[1], self.scale)
        self.centres = self.add_weight(
            name="centres",
            shape=centres.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(centres, dtype),
            trainable=False,
        )

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_adv")
class MaxMahalanobisHead(CentreHead):
    """phi (B, D) -> logits phi . mu_k (B, classes), without bias: Manifold-Aware Training (sec. 3.3).

    All centres have one length, so the largest logit is the largest cosine.

    Args:
        classes: number of logits, at least 2.
        scale: length C of the centres, above 0.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return ops.matmul(inputs, ops.transpose(self.centres))


@keras.saving.register_keras_serializable(package="keras_adv")
class CentreDistanceHead(CentreHead):
    """phi (B, D) -> logits -|phi - mu_k|_2^2 (B, classes): Pang et al., arXiv:1905.10626, in the form of
    their code.

    Differences are squared, not expanded into |phi|^2 - 2 phi . mu + C^2: that would lose the digits of a
    small distance.

    Args:
        classes: number of logits, at least 2.
        scale: length C of the centres, above 0; 10 in the paper.
    """

    def call(self, inputs: Tensor) -> Tensor:
        gaps = ops.expand_dims(inputs, 1) - ops.expand_dims(self.centres, 0)
        return -ops.sum(ops.square(gaps), axis=2)


def replace_head(net: keras.Model, head: CentreHead, dim: int | None) -> keras.Model:
    """A model of the layers of `net` up to "features", a linear layer of `dim` units, and `head`.

    The linear layer carries the name "features": it is what the head, attacks on features and exports see.
    Two layers of one model may not share a name, so what comes before stands inside it as one layer, the
    model "body" of the very layers of `net`. With dim=None the head sits on the layer "features" of `net`
    itself.

    Args:
        net: a model with a layer named "features"; what follows that layer is left out.
        head: a new head. A net that ends in one of this type is returned as it is.
        dim: D, the width of the linear layer, or None.

    Raises:
        InvalidInput: no layer "features", or dim=None on features that are never negative (a ReLU's): they
            reach only the first centre.
    """
    if type(net.layers[-1]) is type(head):
        return net
    features = feature_layer(net).output
    if len(features.shape) > 2:
        features = keras.layers.Flatten()(features)
    body = keras.Model(net.input, features, name="body")
    if dim is None:
        if not _takes_both_signs(body):
            why = "this net's features are never negative and reach only the first centre"
            raise validate.invalid("dim", f"the width of a linear layer: {why}", dim)
        return keras.Model(net.input, head(features), name=net.name)
    inputs = keras.Input(net.input_shape[1:], name="images")
    linear = keras.layers.Dense(dim, name="features")
    return keras.Model(inputs, head(linear(body(inputs))), name=net.name)


def _takes_both_signs(body: keras.Model) -> bool:
    images = noise.uniform(noise.seeds(0, np.arange(16, dtype="uint32")), tuple(body.input_shape[1:]))
    return bool(np.asarray(body(images, training=False)).min() < 0)
