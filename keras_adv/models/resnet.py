"""Residual networks for CIFAR."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.models.base import Architecture, conv, norm
from keras_adv.registry import option, register


def pad_shortcut(x: Tensor, filters: int, strides: int) -> Tensor:
    """The parameter-free shortcut: every second pixel, and zeros for the new channels (He et al., option
    A)."""
    # operations of Keras, no layer of our own: what is saved loads without this package
    x = x[:, ::strides, ::strides, :]
    more = filters - x.shape[-1]
    return ops.pad(x, [[0, 0], [0, 0], [0, 0], [more // 2, more - more // 2]])


@register("model", "resnet")
class ResNet(Architecture):
    """ResNet-(6n+2) for CIFAR: 3 stages of n blocks, widths 16, 32, 64 (He et al., arXiv:1512.03385, 4.2).

    Args:
        depth: 20, 32, 44, 56 or 110.
        slope: of the leaky ReLU; 0 is ReLU.
    """

    depth: int = option(default=20, choices=(20, 32, 44, 56, 110))
    slope: float = option(default=0.0, low=0.0, high=0.5)

    def body(self, x: Tensor) -> Tensor:
        x = self._act(norm(conv(16, 3, use_bias=False)(x)))
        for width in (16, 32, 64):
            for block in range((self.depth - 2) // 6):
                x = self._block(x, width, 2 if width > 16 and block == 0 else 1)
        return keras.layers.GlobalAveragePooling2D(name="features")(x)

    def _act(self, x: Tensor) -> Tensor:
        return keras.layers.LeakyReLU(self.slope)(x) if self.slope else keras.layers.ReLU()(x)

    def _block(self, x: Tensor, width: int, strides: int) -> Tensor:
        h = self._act(norm(conv(width, 3, strides, use_bias=False)(x)))
        h = norm(conv(width, 3, use_bias=False)(h))
        short = x if x.shape[-1] == width else pad_shortcut(x, width, strides)
        return self._act(keras.layers.Add()([h, short]))
