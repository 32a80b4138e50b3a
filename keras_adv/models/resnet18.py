"""ResNet-18, in the shapes of the papers."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor
from keras_adv.models.base import ACTIVATIONS, Architecture, activate, conv, norm
from keras_adv.registry import option, register

# form: stem (filters, size, strides, max pool), then (width, strides of the first block) of each stage
FORMS = {
    "cifar": ((64, 3, 1, False), ((64, 1), (128, 2), (256, 2), (512, 2))),
    "afd_mnist": ((16, 3, 2, False), ((16, 2), (32, 2), (48, 2), (64, 2))),
    "imagenet": ((64, 7, 2, True), ((64, 1), (128, 2), (256, 2), (512, 2))),
}


def unit_length(x: Tensor) -> Tensor:
    """x / ||x||_2 for each image; 0 stays 0, and its gradient finite (not so that of UnitNormalization)."""
    square = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(square, 1e-12))


@register("model", "resnet18")
class ResNet18(Architecture):
    """Four stages of two basic blocks (He et al.); shortcuts that change shape are 1x1 convolutions with
    norm.

    Strided layers pad both sides alike, as PyTorch does, so its weights can be carried over.

    Args:
        form: "cifar": 3x3x64 stem, stages 64, 128, 256, 512, strides 1, 2, 2, 2 (AFD, and most papers on
            CIFAR; 11,173,962 weights with 10 classes);
            "afd_mnist": 3x3x16 stem of stride 2, stages 16, 32, 48, 64, all of stride 2, so that 28x28
            becomes 1x1 (AFD; 263,546 weights);
            "imagenet": 7x7x64 stem of stride 2 and a 3x3 max pool (Deep Defense; 11,689,512 weights with
            1000 classes).
        activation: "relu", or "silu", x sigmoid(x), smooth, with which robust nets are a little more accurate
            (Gowal et al., arXiv:2010.03593).
        normalized: features of unit length ("resnet18norm" in AFD's code of 2021; the paper's are not).
    """

    reference = "arXiv:1512.03385"
    form: str = option(default="cifar", choices=tuple(FORMS))
    activation: str = option(default="relu", choices=ACTIVATIONS)
    normalized: bool = option(default=False)

    def check(self) -> None:
        if self.form == "imagenet" and self.activation != "relu":
            raise validate.invalid(
                "activation", "'relu' for form 'imagenet', which pads a max pool", self.activation
            )

    def body(self, x: Tensor) -> Tensor:
        (filters, size, strides, pool), stages = FORMS[self.form]
        act = self.activation
        x = activate(norm(_conv(x, filters, size, strides)), act)
        if pool:  # after a ReLU, padding with 0 is padding with nothing
            x = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))
        for width, strides in stages:
            x = _block(_block(x, width, strides, act), width, 1, act)
        if not self.normalized:
            return keras.layers.GlobalAveragePooling2D(name="features")(x)
        x = unit_length(keras.layers.GlobalAveragePooling2D()(x))
        return keras.layers.Identity(name="features")(x)


def _block(x: Tensor, width: int, strides: int, activation: str) -> Tensor:
    h = activate(norm(_conv(x, width, 3, strides)), activation)
    h = norm(_conv(h, width, 3, 1))
    same = strides == 1 and x.shape[-1] == width
    short = x if same else norm(_conv(x, width, 1, strides))
    return activate(keras.layers.Add()([h, short]), activation)


def _conv(x: Tensor, filters: int, size: int, strides: int) -> Tensor:
    if strides > 1 and size > 1:
        x = keras.layers.ZeroPadding2D(size // 2)(x)
    padding = "valid" if strides > 1 else "same"
    return conv(filters, size, strides, padding, use_bias=False)(x)
