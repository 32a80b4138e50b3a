"""VGG for small images."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv, norm
from keras_adv.registry import option, register

BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@register("model", "vgg")
class VGG(Architecture):
    """Five blocks of 3x3 convolutions, a 2x2 pool after each (Simonyan & Zisserman, configurations A, B, D,
    E).

    The form that is usual for CIFAR: one linear layer on the 512 maps instead of two hidden layers of 4096,
    14,728,266 weights at depth 16 for 32x32x3 and 10 classes. Pools round up, so 28x28 ends at 1x1 as 32x32
    does. MAT's net for MNIST is "VGG Net" without a depth; these features end in a ReLU,
    so `mat` puts a linear layer before its head.

    Args:
        depth: 11, 13, 16 or 19: convolutions and the linear layer, with the two that are left out counted.
        width: maps of the first block (64); the others have 2, 4, 8 and 8 times as many. 16 is a light net.
        batch_norm: whether each convolution is followed by batch normalisation.
    """

    reference = "arXiv:1409.1556"
    depth: int = option(default=11, choices=tuple(BLOCKS))
    width: int = option(default=64, low=1)
    batch_norm: bool = option(default=True)

    def body(self, x: Tensor) -> Tensor:
        for convolutions, times in zip(BLOCKS[self.depth], (1, 2, 4, 8, 8), strict=True):
            for _ in range(convolutions):
                x = conv(times * self.width, 3)(x)
                x = keras.layers.ReLU()(norm(x) if self.batch_norm else x)
            x = keras.layers.MaxPooling2D(2, padding="same")(x)
        return keras.layers.GlobalAveragePooling2D(name="features")(x)
