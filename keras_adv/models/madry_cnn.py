"""The network of the MNIST challenge."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv
from keras_adv.registry import option, register


@register("model", "madry_cnn")
class MadryCNN(Architecture):
    """5x5 convolutions 32 - pool - 64 - pool - 1024, same padding, ReLU (Madry et al., and thesis 5.4).

    3,274,634 weights at 28x28x1 with 10 classes. The challenge starts from N(0, 0.1), cut at two deviations,
    with biases of 0.1; here weights start as He's and biases at 0, as in every network here.

    Args:
        hidden: units before the logits (1024).
    """

    reference = "arXiv:1706.06083"
    hidden: int = option(default=1024, low=1)

    def body(self, x: Tensor) -> Tensor:
        for filters in (32, 64):
            x = conv(filters, 5, activation="relu")(x)
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Flatten()(x)
        dense = {"activation": "relu", "kernel_initializer": self.initializer}
        return keras.layers.Dense(self.hidden, name="features", **dense)(x)
