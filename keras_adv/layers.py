"""Keras layers of the papers."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_adv import noise, validate

Tensor = Any


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


class ClassMeans(keras.layers.Layer):
    """Running mean of one number for each class: m_c <- decay m_c + (1 - decay) mean of the batch.

    A class absent from the batch keeps its value. Call with values (B,) and classes (B,); returns the means
    after the update, shape (classes,).

    Args:
        classes: number of classes.
        decay: share of the old mean that is kept, in [0, 1].
        initial: mean before the first batch.
    """

    def __init__(self, classes: int, decay: float = 0.5, initial: float = 1.0) -> None:
        super().__init__(name="class_means")
        self.decay = decay
        self.means = self.add_weight(
            shape=(classes,), initializer=keras.initializers.Constant(initial), trainable=False
        )
        self.built = True

    def call(self, values: Tensor, labels: Tensor) -> Tensor:
        hot = ops.one_hot(labels, self.means.shape[0], dtype=values.dtype)
        count = ops.sum(hot, axis=0)
        batch = ops.sum(hot * values[:, None], axis=0) / ops.maximum(count, 1.0)
        old = ops.convert_to_tensor(self.means)
        new = ops.where(count > 0, self.decay * old + (1.0 - self.decay) * batch, old)
        self.means.assign(new)
        return new


class MeanImage(keras.layers.Layer):
    """Mean of all images that it was called with, the present ones included: (B, H, W, C) -> (H, W, C)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(name="mean_image")
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False)
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        old, more = ops.convert_to_tensor(self.mean), ops.cast(ops.shape(x)[0], "float32")
        count = ops.convert_to_tensor(self.count) + more
        new = old + (ops.mean(x, axis=0) - old) * (more / count)
        self.count.assign(count)
        self.mean.assign(new)
        return new
