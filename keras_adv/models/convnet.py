"""Plain convolutional networks."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, activate, conv, norm
from keras_adv.registry import option, register
from keras_adv.validate import InvalidInput, invalid

FORMS = ("quick", "fab", "cnn7")


@register("model", "convnet")
class ConvNet(Architecture):
    """Krizhevsky's cuda-convnet-quick, the network of the FAB paper, and that of certified training.

    Args:
        form: "quick": 5x5x32 - max pool - 5x5x32 - mean pool - 5x5x64 - mean pool - 4x4x64 (Deep Defense's
            "ConvNet"; 145,578 weights at 32x32x3 with 10 classes);
            "fab": valid 3x3 convolutions 96, 96, 192/2, 192, 192, 192/2, 192, then 2x2x384/2 and 1200 units
            (the CIFAR nets of thesis 5.4, "8 convolutional and 2 dense layers"; 2,348,986 weights). Valid
            padding is inferred: with it the 2x2 convolution sees a map of exactly 2x2;
            "cnn7": 3x3 convolutions w, w, 2w/2, 2w, 2w, then 512 units, with batch normalisation after each
            (certified training: Shi et al., arXiv:2103.17268; 13,259,338 weights at 28x28x1 with 10 classes).
        pool: side of the pools of "quick", stride 2: 2 in Deep Defense's code, 3 in MatConvNet, from whose
            weights Deep Defense starts.
        bias: whether convolutions have one; False in FAB's adversarially trained nets.
        width: w of "cnn7" (64).
    """

    reference = "arXiv:1803.00404"
    form: str = option(default="quick", choices=FORMS)
    pool: int = option(default=2, choices=(2, 3))
    bias: bool = option(default=True)
    width: int = option(default=64, low=1)

    def check(self) -> None:
        if self.form == "fab" and self.pool != 2:
            raise InvalidInput(f"`pool` must be 2 for form 'fab'. Received: pool={self.pool}")

        if self.form != "cnn7" and self.width != 64:
            raise InvalidInput(f"`width` is for form 'cnn7' alone. Received: width={self.width}")

    def body(self, x: Tensor) -> Tensor:
        forms = {"quick": self._quick, "fab": self._fab, "cnn7": self._cnn7}
        return forms[self.form](x)

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

    def _cnn7(self, x: Tensor) -> Tensor:
        for times, strides in ((1, 1), (1, 1), (2, 2), (2, 1), (2, 1)):
            x = keras.layers.ZeroPadding2D(1)(x)  # both sides, where "same" pads one for strides of 2
            x = conv(times * self.width, 3, strides, "valid", use_bias=self.bias)(x)
            x = activate(norm(x), "relu")
        x = keras.layers.Dense(512, kernel_initializer=self.initializer)(keras.layers.Flatten()(x))
        return keras.layers.ReLU(name="features")(norm(x))

    def _hidden(self, x: Tensor, units: int) -> Tensor:
        dense = {"activation": "relu", "kernel_initializer": self.initializer}
        return keras.layers.Dense(units, name="features", **dense)(keras.layers.Flatten()(x))
