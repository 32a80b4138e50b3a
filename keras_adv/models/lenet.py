"""LeNet, in the shapes of the papers."""

from __future__ import annotations

from typing import Any

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import INITIALIZERS, Architecture, conv
from keras_adv.registry import option, register
from keras_adv.validate import InvalidInput

FORMS = ("auto", "thesis", "matconvnet", "afd", "small")


@register("model", "lenet")
class LeNet(Architecture):
    """Two convolutions and one hidden layer.

    Args:
        form: "thesis": 5x5x32 - pool - 5x5x64 - pool - 512, valid, ReLU (thesis 3.5 and 4.5, not LeCun's);
            "matconvnet": 5x5x20 - pool - 5x5x50 - pool - 500, ReLU only before the last layer (Deep Defense);
            "afd": 3x3x32 - pool - 3x3x64 - pool - 64, ReLU (AFD; that it pads nothing is inferred);
            "small": 3x3x32 - pool - 3x3x64 - pool - 128, same padding, for 8x8 digits;
            "auto": "thesis", or "small" below 16x16 pixels.
        dropout: rate before the hidden layer and before the logits (thesis: 0.5).
        initializer: of the weights: "he_normal", or "glorot_uniform" (thesis 3.5, which has it from Lasagne).
    """

    form: str = option(default="auto", choices=FORMS)
    dropout: float = option(default=0.0, low=0.0, high=0.9)
    initializer: str = option(default="he_normal", choices=INITIALIZERS)

    def body(self, x: Tensor) -> Tensor:
        side = min(x.shape[1:3])
        form = ("small" if side < 16 else "thesis") if self.form == "auto" else self.form
        if form != "small" and side < 16:
            raise InvalidInput(f"`form` must be 'small' or 'auto' for images below 16x16. Received: {form!r}")
        size, first, second, hidden = {
            "thesis": (5, 32, 64, 512),
            "matconvnet": (5, 20, 50, 500),
            "afd": (3, 32, 64, 64),
            "small": (3, 32, 64, 128),
        }[form]
        padding = "same" if form == "small" else "valid"
        activation = None if form == "matconvnet" else "relu"
        drawn: dict[str, Any] = {"padding": padding, "activation": activation}
        drawn["kernel_initializer"] = self.initializer
        for filters in (first, second):
            x = conv(filters, size, **drawn)(x)
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Flatten()(x)
        if self.dropout:
            x = keras.layers.Dropout(self.dropout)(x)
        x = keras.layers.Dense(
            hidden, activation="relu", kernel_initializer=self.initializer, name="features"
        )(x)
        return keras.layers.Dropout(self.dropout)(x) if self.dropout else x
