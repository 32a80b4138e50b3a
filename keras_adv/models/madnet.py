"""MadNet's residual network."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv
from keras_adv.models.resnet import pad_shortcut
from keras_adv.registry import option, register


@register("model", "madnet_resnet")
class MadNetResNet(Architecture):
    """Pre-activation ResNet-(6n+2) for CIFAR and MNIST: 3 stages of n blocks, widths 16, 32, 64.

    Block: [norm - act] - 3x3 - norm - act - 3x3, plus the shortcut; the bracket is left out in the very first
    block, which follows an activation. Where a stage halves the map the shortcut is the mean of 2x2 pixels
    and zeros for the new channels, without weights. 853,018 weights at depth 56 for 32x32x3 and 10 classes,
    as many as the original ResNet-56. MadNet's images lie in [-0.5, 0.5]:
    normalize="centre" in a recipe.

    Args:
        depth: 20, 32 (the black-box proxy), 44, 56 (the paper's) or 110.
        slope: of the leaky ReLU (0.1).
    """

    reference = "arXiv:1911.00870"
    depth: int = option(default=20, choices=(20, 32, 44, 56, 110))
    slope: float = option(default=0.1, low=0.0, high=0.5)

    def body(self, x: Tensor) -> Tensor:
        x = self._act(_conv(x, 16))
        for width in (16, 32, 64):
            for block in range((self.depth - 2) // 6):
                first = block == 0
                h = x if first and width == 16 else self._act(x)
                x = self._block(x, h, width, 2 if first and width > 16 else 1)
        return keras.layers.GlobalAveragePooling2D(name="features")(self._act(x))

    def _act(self, x: Tensor) -> Tensor:
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
        return keras.layers.LeakyReLU(self.slope)(x)

    def _block(self, x: Tensor, h: Tensor, width: int, strides: int) -> Tensor:
        h = _conv(self._act(_conv(h, width, strides)), width)
        if strides > 1:  # "same": a map of odd side is rounded up, as the convolution does
            x = pad_shortcut(keras.layers.AveragePooling2D(2, padding="same")(x), width, 1)
        return keras.layers.Add()([h, x])


def _conv(x: Tensor, filters: int, strides: int = 1) -> Tensor:
    """3x3 without bias, from N(0, 2 / (9 filters)): He's rule by the outputs, as in MadNet's code."""
    start = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return conv(filters, 3, strides, use_bias=False, kernel_initializer=start)(x)
