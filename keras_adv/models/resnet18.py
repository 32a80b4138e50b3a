"""ResNet-18, in the shapes of the papers."""

from __future__ import annotations

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor
from keras_adv.models.base import ACTIVATIONS, PADDINGS, Architecture, activate, convolve, norm
from keras_adv.registry import option, register

# form: stem (filters, size, strides, max pool), then (width, strides of the first block) of each stage
FORMS = {
    "cifar": ((64, 3, 1, False), ((64, 1), (128, 2), (256, 2), (512, 2))),
    "afd_mnist": ((16, 3, 2, False), ((16, 2), (32, 2), (48, 2), (64, 2))),
    "imagenet": ((64, 7, 2, True), ((64, 1), (128, 2), (256, 2), (512, 2))),
}
# block: what is convolved for a shortcut that changes shape, and by which size; None: with post-activation
BLOCKS = {"post": None, "pre": ("input", 1), "pre_activated": ("activated", 1), "pre_3x3": ("input", 3)}


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
        block: "post": norm and activation after each convolution; the others are PreActResNet-18, with both
            before each convolution and none in shortcuts (He et al., arXiv:1603.05027). A shortcut that
            changes shape is in "pre" a 1x1 convolution of the block's input (Wong et al., arXiv:2001.03994),
            in "pre_activated" one of the input after norm and activation (Rice et al., arXiv:2002.11569), in
            "pre_3x3" a 3x3 convolution of the input (Rebuffi et al., arXiv:2103.01946). Form "cifar" alone.
        end_norm: of the pre-activation blocks: norm and activation after the last one too.
        padding: of strided convolutions: "both" sides, as in PyTorch; "same", as in TensorFlow and in
            DeepMind's nets (Rebuffi et al.).
    """

    reference = "arXiv:1512.03385"
    form: str = option(default="cifar", choices=tuple(FORMS))
    activation: str = option(default="relu", choices=ACTIVATIONS)
    normalized: bool = option(default=False)
    block: str = option(default="post", choices=tuple(BLOCKS))
    end_norm: bool = option(default=True)
    padding: str = option(default="both", choices=PADDINGS)

    def check(self) -> None:
        if self.form == "imagenet" and self.activation != "relu":
            raise validate.invalid(
                "activation", "'relu' for form 'imagenet', which pads a max pool", self.activation
            )
        if self.form != "cifar" and self.block != "post":
            raise validate.invalid("block", f"'post' for form {self.form!r}", self.block)
        if self.block == "post" and not self.end_norm:
            raise validate.invalid("end_norm", "True for block 'post', which ends in one", self.end_norm)

    def body(self, x: Tensor) -> Tensor:
        (filters, size, strides, pool), stages = FORMS[self.form]
        x = convolve(x, filters, size, strides, self.padding)
        x = self._act(x) if self.block == "post" else x
        if pool:  # after a ReLU, padding with 0 is padding with nothing
            x = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))
        for width, strides in stages:
            x = self._block(self._block(x, width, strides), width, 1)
        x = self._act(x) if self.block != "post" and self.end_norm else x
        if not self.normalized:
            return keras.layers.GlobalAveragePooling2D(name="features")(x)
        x = unit_length(keras.layers.GlobalAveragePooling2D()(x))
        return keras.layers.Identity(name="features")(x)

    def _act(self, x: Tensor) -> Tensor:
        return activate(norm(x), self.activation)

    def _block(self, x: Tensor, width: int, strides: int) -> Tensor:
        if (shortcut := BLOCKS[self.block]) is None:
            return _basic(x, width, strides, self.activation, self.padding)
        activated = self._act(x)
        h = self._act(convolve(activated, width, 3, strides, self.padding))
        h = convolve(h, width, 3, 1, self.padding)
        if strides > 1 or x.shape[-1] != width:
            source, size = shortcut
            x = convolve(x if source == "input" else activated, width, size, strides, self.padding)
        return keras.layers.Add()([h, x])


def _basic(x: Tensor, width: int, strides: int, activation: str, padding: str) -> Tensor:
    h = activate(norm(convolve(x, width, 3, strides, padding)), activation)
    h = norm(convolve(h, width, 3, 1, padding))
    return with_shortcut(h, x, strides, activation, padding)


def with_shortcut(h: Tensor, x: Tensor, strides: int, activation: str, padding: str) -> Tensor:
    """Activation of h + x, where shapes differ h + norm of a 1x1 convolution of x."""
    same = strides == 1 and x.shape[-1] == h.shape[-1]
    short = x if same else norm(convolve(x, h.shape[-1], 1, strides, padding))
    return activate(keras.layers.Add()([h, short]), activation)
