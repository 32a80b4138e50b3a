"""Random numbers that belong to an image, not to its batch, alike on every backend.

A counter-based generator: number i of the stream of `seed` is hash(hash(seed) ^ hash(i)) with the
32-bit mixer "lowbias32" (C. Wellons, hash-prospector). So an attack's random start does not depend on the
batch an image happens to share, on its size or on the framework.
"""

from __future__ import annotations

import math

import numpy as np
from keras import ops

from keras_adv.arrays import Tensor


def _mix(v: Tensor) -> Tensor:
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        v = ops.bitwise_xor(v, ops.right_shift(v, ops.cast(shift, "uint32")))
        v = v * ops.convert_to_tensor(np.uint32(factor))
    return ops.bitwise_xor(v, ops.right_shift(v, ops.cast(15, "uint32")))


def fold(seeds: Tensor, number: Tensor) -> Tensor:
    """A new independent seed for each (seed, number); uint32, shape by broadcasting."""
    number = ops.cast(number, "uint32") * ops.convert_to_tensor(np.uint32(0x9E3779B9))
    return _mix(ops.bitwise_xor(_mix(ops.cast(seeds, "uint32")), number))


def seeds(seed: Tensor, numbers: Tensor) -> Tensor:
    """One seed for each image: (B,) uint32 from a run's seed and the images' numbers (B,)."""
    return fold(ops.cast(seed, "uint32"), ops.cast(numbers, "uint32") + 1)


def _bits(keys: Tensor, count: int) -> Tensor:
    index = _mix(ops.convert_to_tensor(np.arange(1, count + 1, dtype="uint32")))
    return _mix(ops.bitwise_xor(_mix(keys)[:, None], index[None, :]))


def uniform(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """U[0, 1) of shape (B, *shape), float32, from seeds (B,)."""
    bits = ops.right_shift(_bits(keys, math.prod(shape)), ops.cast(8, "uint32"))
    # 24 bits fit float32 exactly; through int32, which every device can turn into a float
    return ops.reshape(ops.cast(ops.cast(bits, "int32"), "float32") * 2.0**-24, (-1, *shape))


def normal(keys: Tensor, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1) of shape (B, *shape), float32, by Box-Muller."""
    radius = ops.sqrt(-2.0 * ops.log(1.0 - uniform(fold(keys, 1), shape)))
    return radius * ops.cos(2.0 * math.pi * uniform(fold(keys, 2), shape))
