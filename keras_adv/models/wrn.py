"""Wide residual networks."""

from __future__ import annotations

import keras

from keras_adv.models.base import Architecture, Tensor, conv, norm
from keras_adv.registry import option, register
from keras_adv.validate import InvalidInput


@register("model", "wrn")
class WRN(Architecture):
    """WRN-depth-width, pre-activation blocks (Zagoruyko & Komodakis, arXiv:1605.07146).

    Args:
        depth: 6 n + 4: 16, 22, 28, 34, 40.
        width: widening factor of the stages 16, 32, 64.
    """

    depth: int = option(default=16, low=10)
    width: int = option(default=2, low=1)

    def check(self) -> None:
        if (self.depth - 4) % 6:
            raise InvalidInput(f"`depth` must be 6 n + 4. Received: depth={self.depth}")

    def body(self, x: Tensor) -> Tensor:
        x = conv(16, 3, use_bias=False)(x)
        for stage, base in enumerate((16, 32, 64)):
            for block in range((self.depth - 4) // 6):
                x = self._block(x, base * self.width, 2 if stage and block == 0 else 1)
        return keras.layers.GlobalAveragePooling2D(name="features")(_act(norm(x)))

    def _block(self, x: Tensor, filters: int, strides: int) -> Tensor:
        h = _act(norm(x))
        if x.shape[-1] != filters:
            x = conv(filters, 1, strides, use_bias=False)(h)
        h = _act(norm(conv(filters, 3, strides, use_bias=False)(h)))
        return keras.layers.Add()([conv(filters, 3, use_bias=False)(h), x])


def _act(x: Tensor) -> Tensor:
    return keras.layers.ReLU()(x)
