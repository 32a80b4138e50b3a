"""TRADES' network for MNIST."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv
from keras_adv.registry import option, register
from keras_adv.validate import invalid


@register("model", "small_cnn")
class SmallCNN(Architecture):
    """3x3 convolutions 32, 32 - pool - 64, 64 - pool - 200 - dropout - 200, valid, ReLU.

    As in the code of TRADES the logits start at 0: every class is equally likely at first, and the gradient
    by the image is 0 until the first step. 312,202 weights at 28x28x1 with 10 classes.

    Args:
        dropout: rate between the two hidden layers (TRADES: 0.5).
    """

    reference = "arXiv:1901.08573"
    initializer = "zeros"  # of the logits; the layers of the body name their own
    dropout: float = option(default=0.5, low=0.0, high=0.9)

    def body(self, x: Tensor) -> Tensor:
        if min(x.shape[1:3]) < 16:
            raise invalid("shape", "at least 16x16 pixels for small_cnn", tuple(x.shape[1:3]))
        for filters in (32, 64):
            x = conv(filters, 3, padding="valid", activation="relu")(x)
            x = conv(filters, 3, padding="valid", activation="relu")(x)
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(200, activation="relu", kernel_initializer="he_normal")(x)
        if self.dropout:
            x = keras.layers.Dropout(self.dropout)(x)
        return keras.layers.Dense(200, activation="relu", kernel_initializer="he_normal", name="features")(x)
