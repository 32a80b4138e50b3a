"""ResNet-50 for small images."""

from __future__ import annotations

import keras

from keras_adv.arrays import Tensor
from keras_adv.models.base import ACTIVATIONS, Architecture, activate, convolve, norm
from keras_adv.models.resnet18 import FORMS, with_shortcut
from keras_adv.registry import option, register

UNITS = (3, 4, 6, 3)
"""Blocks of each stage."""


@register("model", "resnet50")
class ResNet50(Architecture):
    """Four stages of 3, 4, 6 and 3 bottlenecks (He et al.), in the form that is usual for CIFAR: 3x3x64 stem.

    Block: 1x1 - 3x3, which has the stride - 1x1 of four times the width, norm after each; shortcuts that
    change shape are 1x1 convolutions with norm. Strided layers pad both sides alike, as PyTorch does.
    23,520,842 weights at 32x32x3 with 10 classes.

    Args:
        activation: "relu" or "silu".
        width: maps of the first stage (64); the others have 2, 4 and 8 times as many.
    """

    reference = "arXiv:1512.03385"
    activation: str = option(default="relu", choices=ACTIVATIONS)
    width: int = option(default=64, low=1)

    def body(self, x: Tensor) -> Tensor:
        x = self._act(convolve(x, self.width, 3, 1, "both"))
        for times, units, (_, strides) in zip((1, 2, 4, 8), UNITS, FORMS["cifar"][1], strict=True):
            for unit in range(units):
                x = self._block(x, times * self.width, 1 if unit else strides)
        return keras.layers.GlobalAveragePooling2D(name="features")(x)

    def _act(self, x: Tensor) -> Tensor:
        return activate(norm(x), self.activation)

    def _block(self, x: Tensor, width: int, strides: int) -> Tensor:
        h = self._act(convolve(x, width, 1, 1, "both"))
        h = self._act(convolve(h, width, 3, strides, "both"))
        h = norm(convolve(h, 4 * width, 1, 1, "both"))
        return with_shortcut(h, x, strides, self.activation, "both")
