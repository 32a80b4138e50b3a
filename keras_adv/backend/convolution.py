"""A faster input gradient of the convolutions that look at grey images, for TensorFlow on CPUs.

For one channel TensorFlow's kernel uses a small part of the processor's vectors: on LeNet it takes nearly
half of a whole gradient. A block of s x s pixels is s*s channels: the same gradient is one convolution with
stride s and s*s kernels, each the reversed kernel at another place of a window, and its outputs are put side
by side. For three channels nothing is gained.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import keras

from keras_adv.arrays import Tensor
from keras_adv.backend.replaced import replaced

SMALLEST = 16  # images of fewer pixels a side gain little, by timing
BLOCK = 4  # pixels a side of a block, by timing

if keras.config.backend() == "tensorflow":
    import tensorflow as tf

    AVAILABLE = not tf.config.list_physical_devices("GPU")
else:
    AVAILABLE = False  # on JAX a convolution with a stride costs more than this saves


def faster_input_gradients(model: keras.layers.Layer) -> AbstractContextManager[None]:
    """While the context is open, the model's convolutions of grey images have the faster gradient, to every
    order. The values that they return are the same."""
    layers = [layer for layer in model._flatten_layers() if _can_be_faster(layer)] if AVAILABLE else []
    return replaced(layers, "convolution_op", lambda layer: partial(convolve, padding=layer.padding.upper()))


def _can_be_faster(layer: Any) -> bool:
    """Whether it is Keras' own convolution of one channel with stride 1, without the faster gradient yet."""
    kind = keras.layers.Conv2D
    if not isinstance(layer, kind) or type(layer).convolution_op is not kind.convolution_op:
        return False
    plain = (layer.strides, layer.dilation_rate, layer.groups) == ((1, 1), (1, 1), 1)
    if not plain or layer.data_format != "channels_last" or "convolution_op" in vars(layer):
        return False
    return layer.built and layer.kernel.shape[2] == 1


def convolve(x: Tensor, kernel: Tensor, padding: str) -> Tensor:
    """Convolution with stride 1 of x (B, H, W, 1) with kernel (k, l, 1, F), padding "VALID" or "SAME"."""
    x, kernel = tf.convert_to_tensor(x), tf.convert_to_tensor(kernel)  # a custom gradient is of tensors
    if any(side is None or side < SMALLEST for side in x.shape[1:3]):
        return tf.nn.conv2d(x, kernel, 1, padding)

    @tf.custom_gradient
    def forward(x: Tensor, kernel: Tensor) -> Any:
        pull = lambda g: (backward(g, kernel), by_kernel(x, g))  # noqa: E731
        return tf.nn.conv2d(x, kernel, 1, padding), pull

    @tf.custom_gradient
    def backward(g: Tensor, kernel: Tensor) -> Any:
        pull = lambda u: (forward(u, kernel), by_kernel(u, g))  # noqa: E731
        return _in_blocks(g, kernel, x.shape[1:3], padding), pull

    def by_kernel(x: Tensor, g: Tensor) -> Tensor:
        sizes, strides = kernel.shape, [1, 1, 1, 1]
        return tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=sizes, out_backprop=g, strides=strides, padding=padding
        )

    return forward(x, kernel)


def _in_blocks(g: Tensor, kernel: Tensor, shape: tuple[int, int], padding: str) -> Tensor:
    """The gradient by images of `shape` (H, W), from that by the outputs g (B, ., ., F)."""
    s, window = BLOCK, kernel.shape[:2]
    turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
    placed = [
        tf.pad(turned, [[i, s - 1 - i], [j, s - 1 - j], [0, 0], [0, 0]]) for i in range(s) for j in range(s)
    ]
    kernels = tf.stack(placed, axis=3)
    kernels = tf.reshape(kernels, (*kernels.shape[:3], s * s))
    sides = zip(shape, g.shape[1:3], window, strict=True)
    pads = [_pads(side, out, k, padding) for side, out, k in sides]
    blocks = tf.nn.conv2d(g, kernels, s, [[0, 0], *pads, [0, 0]])
    return tf.nn.depth_to_space(blocks, s)[:, : shape[0], : shape[1]]


def _pads(side: int, out: int, kernel: int, padding: str) -> list[int]:
    """Zeros before and after `out` gradients, for windows that cover `side` pixels in whole blocks."""
    before = kernel - 1 if padding == "VALID" else kernel - 1 - (kernel - 1) // 2
    return [before, -(-side // BLOCK) * BLOCK + kernel - 1 - out - before]
