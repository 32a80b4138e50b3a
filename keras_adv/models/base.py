"""What every network has in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.normalising import Normalizer, standard
from keras_adv.registry import Spec

INITIALIZERS = ("he_normal", "glorot_uniform")


class Architecture(Spec):
    """A named family of networks; `build` makes one, of plain Keras layers.

    Every net takes images in [0, 1], normalises inside, names its penultimate layer "features" and returns
    logits. Subclasses write `body`, which ends in the layer named "features".
    """

    kind = "model"
    initializer = "he_normal"

    def body(self, x: Tensor) -> Tensor:
        """(B, H, W, C) normalised images -> (B, D) features."""
        raise NotImplementedError

    def build(
        self,
        shape: tuple[int, int, int],
        classes: int,
        mean: Any = None,
        std: Any = None,
        seed: int = 0,
        normalizer: Normalizer | None = None,
    ) -> keras.Model:
        """A new network with fresh weights.

        Args:
            shape: (H, W, C) of the images.
            classes: number of logits.
            mean: one value a channel, subtracted inside; None leaves [0, 1] as it is.
            std: one value a channel, divided by inside.
            seed: of the initial weights; sets Keras' global seed.
            normalizer: in place of mean and std, what comes before the network (`models.normalizer`).
        """
        if normalizer is None and mean is not None and std is not None:
            normalizer = standard(mean, std)
        keras.utils.set_random_seed(seed)
        with _channels_last():
            inputs = x = keras.Input(shape, name="images")
            if normalizer is not None:
                x = normalizer(x)
            logits = keras.layers.Dense(classes, name="logits", kernel_initializer=self.initializer)
            return keras.Model(inputs, logits(self.body(x)), name=self.name)


@contextlib.contextmanager
def _channels_last() -> Iterator[None]:
    """Layers made here take (H, W, C), whatever Keras' own setting is; they remember it."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def conv(filters: int, size: int, strides: int = 1, padding: str = "same", **kwargs: Any) -> Any:
    """A convolution with He-normal weights."""
    kwargs.setdefault("kernel_initializer", "he_normal")
    return keras.layers.Conv2D(filters, size, strides, padding, **kwargs)


PADDINGS = ("same", "both")
"""Zeros around what a strided convolution sees: "same" as in TensorFlow, for a 3x3 of stride 2 and even sides
one row and column after; "both" as in PyTorch, size // 2 on every side. Without a stride they are one."""


def convolve(x: Tensor, filters: int, size: int, strides: int, padding: str) -> Tensor:
    """A convolution of odd `size` without bias, padded as one of `PADDINGS` says."""
    if padding == "both" and strides > 1:
        x = keras.layers.ZeroPadding2D(size // 2)(x) if size > 1 else x
        return conv(filters, size, strides, "valid", use_bias=False)(x)
    return conv(filters, size, strides, use_bias=False)(x)


ACTIVATIONS = ("relu", "silu")


def activate(x: Tensor, activation: str) -> Tensor:
    """ReLU, or x sigmoid(x)."""
    return (keras.layers.ReLU() if activation == "relu" else keras.layers.Activation("silu"))(x)


def norm(x: Tensor) -> Tensor:
    """Batch normalisation with the momentum and epsilon of the ResNet papers."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
