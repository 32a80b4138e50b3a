"""Batch normalisation in one kernel, for TensorFlow on CPUs with AVX-512.

Keras' layer takes the mean, the variance, the scale and the offset in separate passes over memory, in
float32 even where the network computes in bfloat16. TensorFlow has one kernel for them all, which takes
images in bfloat16 beside statistics in float32; `scripts/bench.py normalisation` measures what it saves. On
CPUs without AVX-512 it saves nothing, and Keras' own is kept; on GPUs and on JAX, XLA joins these passes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import keras

from keras_adv import environment
from keras_adv.arrays import Tensor
from keras_adv.backend.replaced import replaced

if keras.config.backend() == "tensorflow":
    import tensorflow as tf

    POSSIBLE = not tf.config.list_physical_devices("GPU")
else:
    POSSIBLE = False
AVAILABLE = POSSIBLE and "avx512f" in environment.processor().split()


def fused_normalisations(layers: list[keras.layers.BatchNormalization]) -> AbstractContextManager[None]:
    """While the context is open, those of the layers that can normalise in one kernel: the same outputs,
    moves of the statistics and gradients of both orders, to rounding."""
    fused = [layer for layer in layers if _can_be_fused(layer)] if AVAILABLE else []
    return replaced(fused, "call", lambda layer: partial(_call, layer))


def _can_be_fused(layer: Any) -> bool:
    """Whether it is Keras' own normalisation of the channels of images, by the batch of one device."""
    own = type(layer).call is keras.layers.BatchNormalization.call and "call" not in vars(layer)
    if not own or not layer.built:
        return False
    if layer.renorm or layer.synchronized or layer.compute_dtype not in ("float32", "bfloat16"):
        return False
    return bool(layer._reduction_axes == [0, 1, 2] and layer.variable_dtype == "float32")


def _call(layer: Any, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
    """`BatchNormalization.call`."""
    learning = bool(training and layer.trainable)
    # by stored statistics Keras' own is one multiply-add in float32, but three passes in bfloat16
    if mask is not None or not (learning or layer.compute_dtype == "bfloat16"):
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    mean, variance = (tf.convert_to_tensor(v) for v in (layer.moving_mean, layer.moving_variance))
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(inputs, layer.compute_dtype),
        scale=tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones_like(mean),
        offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros_like(mean),
        mean=[] if learning else mean,
        variance=[] if learning else variance,
        epsilon=layer.epsilon,
        is_training=learning,
    )
    if learning:
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), batch_variance.dtype)
        batch_variance *= (count - 1) / count  # the kernel gives the unbiased one; Keras stores the other
        for stored, of_batch in ((layer.moving_mean, batch_mean), (layer.moving_variance, batch_variance)):
            stored.assign(stored * layer.momentum + of_batch * (1.0 - layer.momentum))
    return outputs
