"""Plain convolutional networks for CIFAR."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv
from keras_adv.registry import option, register
from keras_adv.validate import InvalidInput, invalid

FORMS = ("quick", "fab")


@register("model", "convnet")
class ConvNet(Architecture):
    """Krizhevsky's cuda-convnet-quick, and the network of the FAB paper.

    Args:
        form: "quick": 5x5x32 - max pool - 5x5x32 - mean pool - 5x5x64 - mean pool - 4x4x64 (Deep Defense's
            "ConvNet"; 145,578 weights at 32x32x3 with 10 classes);
            "fab": valid 3x3 convolutions 96, 96, 192/2, 192, 192, 192/2, 192, then 2x2x384/2 and 1200 units
            (the CIFAR nets of thesis 5.4, "8 convolutional and 2 dense layers"; 2,348,986 weights). Valid
            padding is inferred: with it the 2x2 convolution sees a map of exactly 2x2.
        pool: side of the pools of "quick", stride 2: 2 in Deep Defense's code, 3 in MatConvNet, from whose
            weights Deep Defense starts.
        bias: whether convolutions have one; False in FAB's adversarially trained nets.
    """

    reference = "arXiv:1803.00404"
    form: str = option(default="quick", choices=FORMS)
    pool: int = option(default=2, choices=(2, 3))
    bias: bool = option(default=True)

    def check(self) -> None:
        if self.form == "fab" and self.pool != 2:
            raise InvalidInput(f"`pool` must be 2 for form 'fab'. Received: pool={self.pool}")

    def body(self, x: Tensor) -> Tensor:
        return self._quick(x) if self.form == "quick" else self._fab(x)

    def _quick(self, x: Tensor) -> Tensor:
        mean, most = keras.layers.AveragePooling2D, keras.layers.MaxPooling2D
        for filters, pooling in ((32, most), (32, mean), (64, mean)):
            # The papers pool the first map before its ReLU: for a maximum that is the same.
            x = conv(filters, 5, activation="relu", use_bias=self.bias)(x)
            x = pooling(self.pool, 2, "same")(x)
        # At 32x32 this is the 4x4 valid convolution, whose map is 1x1; other sizes need no other layer.
        return self._hidden(x, 64)

    def _fab(self, x: Tensor) -> Tensor:
        if min(x.shape[1:3]) < 31:
            raise invalid("shape", "at least 31x31 pixels for form 'fab'", tuple(x.shape[1:3]))
        layers = ((96, 1), (96, 1), (192, 2), (192, 1), (192, 1), (192, 2), (192, 1))
        for filters, strides in layers:
            x = conv(filters, 3, strides, "valid", activation="relu", use_bias=self.bias)(x)
        x = conv(384, 2, 2, "valid", activation="relu", use_bias=self.bias)(x)
        return self._hidden(x, 1200)

    def _hidden(self, x: Tensor, units: int) -> Tensor:
        dense = {"activation": "relu", "kernel_initializer": self.initializer}
        return keras.layers.Dense(units, name="features", **dense)(keras.layers.Flatten()(x))
