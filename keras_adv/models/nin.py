"""Network in network."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv
from keras_adv.registry import option, register


@register("model", "nin")
class NIN(Architecture):
    """Three blocks of a convolution and two 1x1 convolutions: 192-160-96, 192-192-192, 192-192-K, ReLU.

    The last 1x1 convolution, to the K classes, has no ReLU in Deep Defense and MatConvNet, so its mean over
    the map is the same layer applied to the mean: "features" are the 192 maps averaged, and the logits a
    dense layer on them, with the same 966,986 weights (32x32x3, 10 classes). Lin et al. put a ReLU there;
    logits that cannot be negative hide gradients, so it is left out.

    Args:
        dropout: rate after the first two blocks (0.5).
        pool: side of the pools, stride 2: 2 in Deep Defense's code, 3 in Lin et al. and MatConvNet.
    """

    reference = "arXiv:1312.4400"
    dropout: float = option(default=0.5, low=0.0, high=0.9)
    pool: int = option(default=2, choices=(2, 3))

    def body(self, x: Tensor) -> Tensor:
        mean, most = keras.layers.AveragePooling2D, keras.layers.MaxPooling2D
        for maps, pooling in (((192, 160, 96), most), ((192, 192, 192), mean)):
            for filters, size in zip(maps, (5, 1, 1), strict=True):
                x = conv(filters, size, activation="relu")(x)
            x = pooling(self.pool, 2, "same")(x)
            if self.dropout:
                x = keras.layers.Dropout(self.dropout)(x)
        for size in (3, 1):
            x = conv(192, size, activation="relu")(x)
        return keras.layers.GlobalAveragePooling2D(name="features")(x)
