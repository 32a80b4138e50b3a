"""Multilayer perceptrons."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import INITIALIZERS, Architecture
from keras_adv.registry import option, register


@register("model", "mlp")
class MLP(Architecture):
    """Fully connected, ReLU. (1200, 1200, 1200) is the critic's net, (1000, 1000, 1000) the margin's.

    Args:
        units: width of each hidden layer.
        dropout: rate after each hidden layer.
        initializer: of the weights: "he_normal", or "glorot_uniform" (thesis 3.5, which has it from Lasagne).
    """

    units: tuple[int, ...] = option(default=(1200, 1200, 1200), low=1)
    dropout: float = option(default=0.0, low=0.0, high=0.9)
    initializer: str = option(default="he_normal", choices=INITIALIZERS)

    def body(self, x: Tensor) -> Tensor:
        x = keras.layers.Flatten()(x)
        for number, width in enumerate(self.units):
            last = number == len(self.units) - 1
            x = keras.layers.Dense(
                width,
                activation="relu",
                kernel_initializer=self.initializer,
                name="features" if last else f"hidden_{number + 1}",
            )(x)
            if self.dropout:
                x = keras.layers.Dropout(self.dropout)(x)
        return x
