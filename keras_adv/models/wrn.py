"""Wide residual networks."""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.models.base import ACTIVATIONS, PADDINGS, Architecture, activate, conv, convolve, norm
from keras_adv.models.resnet import pad_shortcut
from keras_adv.registry import option, register
from keras_adv.validate import InvalidInput


def per_image(images: Tensor) -> Tensor:
    """(x - mean) / max(std, 1 / (255 sqrt(N))) over the N values of each image.

    TensorFlow's per_image_standardization of images in 0..255, for images in [0, 1].
    """
    x = images - ops.mean(images, axis=(1, 2, 3), keepdims=True)
    variance = ops.mean(ops.square(x), axis=(1, 2, 3), keepdims=True)
    return x * ops.rsqrt(ops.maximum(variance, 1 / (255.0**2 * math.prod(images.shape[1:]))))


@register("model", "wrn")
class WRN(Architecture):
    """WRN-depth-width, pre-activation blocks (Zagoruyko & Komodakis, arXiv:1605.07146).

    Madry et al.'s net for CIFAR, "w32-10", is wrn(depth=34, width=10, shortcut='pad', slope=0.1,
    per_image=True): five units a stage, and 32 because shortcuts without weights are not counted.

    Args:
        depth: 6 n + 4: 10, 16, 22, 28, 34, 40.
        width: widening factor of the stages 16, 32, 64.
        shortcut: where the shape changes, "projection": a 1x1 convolution; "pad": the mean of 2x2 pixels and
            zeros for the new channels, without weights.
        activation: "relu", or "silu", x sigmoid(x) (Gowal et al., arXiv:2010.03593).
        slope: of the leaky ReLU in place of ReLU; 0 is ReLU.
        dropout: rate between the two convolutions of a block (Zagoruyko & Komodakis: 0.3; TRADES: 0).
        per_image: whether each image is standardised by its own mean and deviation first.
        padding: of the two 3x3 convolutions of stride 2: "same", as in TensorFlow and in DeepMind's nets of
            either framework (Gowal et al.); "both": one row on every side, as PyTorch pads (TRADES' nets).
    """

    depth: int = option(default=16, low=10)
    width: int = option(default=2, low=1)
    shortcut: str = option(default="projection", choices=("projection", "pad"))
    activation: str = option(default="relu", choices=ACTIVATIONS)
    slope: float = option(default=0.0, low=0.0, high=0.5)
    dropout: float = option(default=0.0, low=0.0, high=0.9)
    per_image: bool = option(default=False)
    padding: str = option(default="same", choices=PADDINGS)

    def check(self) -> None:
        if (self.depth - 4) % 6:
            raise InvalidInput(f"`depth` must be 6 n + 4. Received: depth={self.depth}")
        if self.slope and self.activation != "relu":
            raise InvalidInput(
                f"`slope` must be 0 for another activation than relu. Received: slope={self.slope}"
            )

    def body(self, x: Tensor) -> Tensor:
        x = per_image(x) if self.per_image else x
        x = conv(16, 3, use_bias=False)(x)
        for stage, base in enumerate((16, 32, 64)):
            for block in range((self.depth - 4) // 6):
                x = self._block(x, base * self.width, 2 if stage and block == 0 else 1)
        return keras.layers.GlobalAveragePooling2D(name="features")(self._act(x))

    def _block(self, x: Tensor, filters: int, strides: int) -> Tensor:
        h = self._act(x)
        if x.shape[-1] != filters:
            x = self._short(x, h, filters, strides)
        h = self._act(convolve(h, filters, 3, strides, self.padding))
        if self.dropout:
            h = keras.layers.Dropout(self.dropout)(h)
        return keras.layers.Add()([conv(filters, 3, use_bias=False)(h), x])

    def _short(self, x: Tensor, h: Tensor, filters: int, strides: int) -> Tensor:
        if self.shortcut == "projection":
            return conv(filters, 1, strides, use_bias=False)(h)
        if strides == 1:  # the net's first block: Madry et al. activate before this shortcut, not the others
            return pad_shortcut(h, filters, 1)
        return pad_shortcut(keras.layers.AveragePooling2D(2, padding="same")(x), filters, 1)

    def _act(self, x: Tensor) -> Tensor:
        x = norm(x)
        return keras.layers.LeakyReLU(self.slope)(x) if self.slope else activate(x, self.activation)
