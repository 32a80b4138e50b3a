"""Operations on batches, (B, ...) with one image a row, that threats, losses and attacks share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

Tensor = Any
"""An array of the Keras backend. The backends have no type in common that a type checker could name."""

Logits = Callable[[Tensor], Tensor]
"""A classifier as a pure function: images (B, H, W, C) -> logits (B, K)."""

TINY = 1e-12
"""Smallest divisor: it stands in for a norm of 0."""


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Where Keras is set to another precision than float32 (float64, say): what is made here is in float32
    all the same. A model keeps its own."""
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    if before != "float32":
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        if before != "float32":
            keras.config.set_floatx(before)
            keras.config.set_dtype_policy(policy)


def flatten(x: Tensor) -> Tensor:
    """(B, ...) -> (B, D)."""
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))


def expand_like(v: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to be multiplied with `like` (B, ...). A Python number is returned as it is."""
    if isinstance(v, (int, float)):
        return v
    return ops.reshape(v, (-1,) + (1,) * (len(like.shape) - 1))


def zeros_per_image(x: Tensor, dtype: str = "float32") -> Tensor:
    """(B,) zeros for images (B, H, W, C). Made from x: on JAX the state of a loop keeps its exact type."""
    return ops.cast(ops.zeros_like(x[:, 0, 0, 0]), dtype)


def never(like: Tensor) -> Tensor:
    """False for each image, shaped as `like`."""
    return ops.zeros_like(like, dtype="bool")


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(B,) inner products of the rows of a and b, (B, D) each."""
    return ops.sum(a * b, axis=1)


def square_norm(x: Tensor) -> Tensor:
    """(B,) sums of squares of x (B, ...)."""
    return ops.sum(ops.square(x), axis=tuple(range(1, len(x.shape))))


def l2_norm(x: Tensor) -> Tensor:
    """(B,) Euclidean norms of x (B, ...); their gradient is 0, not NaN, at 0."""
    square = ops.sum(ops.square(flatten(x)), axis=1)
    positive = square > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, square, 1.0)), 0.0)


def mask_of_largest(score: Tensor, count: Tensor) -> Tensor:
    """(B, D) 1.0 at the `count` (a number, or (B,)) largest scores of each row, else 0.0. Of equal scores the
    earlier index counts as larger."""
    order = ops.argsort(-score, axis=1)
    rank = ops.argsort(order, axis=1)
    return ops.cast(rank < expand_like(count, rank), "float32")
