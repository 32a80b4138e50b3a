"""Layers whose gradient is not their slope, and copies of a net that pass gradients straight through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv.arrays import Tensor, flatten
from keras_adv.backend import value_and_grad
from keras_adv.features import calling, calls, leaves

ASKED = 16
"""Images with which layers are looked at."""
MOVED = 8
"""Values of what a layer is given that are moved at once: few, so that a layer which rounds seldom jumps."""


def misleading_layers(model: keras.Model, images: np.ndarray) -> list[keras.layers.Layer]:
    """The layers, in the order of their calls, that move by less than a quarter or over twice of what their
    gradients promise, on most images; at a kink, as of max pooling between equal values, it is half.

    Of each layer that is given and returns one float32 tensor: r = <u, f(a + h v) - f(a - h v)> / 2h <g, v>,
    g the gradient of <u, f(a)>, u random signs, v the signs of g at its `MOVED` largest entries, h a
    hundredth of the deviation of a. Cost: a forward pass of the net and 3 of each layer, on `ASKED` images.
    """
    x = ops.convert_to_tensor(images[:ASKED])
    seen, _ = calls(leaves(model), lambda: model(x, training=False))
    found: list[keras.layers.Layer] = []
    for given, made, layer in seen:
        known = any(layer is other for other in found)
        if not known and _is_one(given) and _is_one(made) and _misleads(layer, given, made):
            found.append(layer)
    return found


def _is_one(value: Any) -> bool:
    if not hasattr(value, "shape") or len(value.shape) < 2:
        return False
    return keras.backend.standardize_dtype(value.dtype) == "float32"


def _misleads(layer: keras.layers.Layer, given: Tensor, made: Tensor) -> bool:
    rng = np.random.default_rng(0)
    u = ops.convert_to_tensor(np.sign(rng.normal(size=made.shape)).astype("float32"))
    g = np.asarray(value_and_grad(lambda a: (_inner(u, layer(a, training=False)), None), given)[2], "float64")
    if not np.isfinite(g).all():
        return True
    flat = g.reshape(len(g), -1)
    at = np.argsort(-np.abs(flat) + 1e-12 * rng.random(flat.shape) * np.abs(flat).max(), axis=1)[:, :MOVED]
    v = np.zeros_like(flat)
    signs = np.where(np.take_along_axis(flat, at, 1) < 0, -1.0, 1.0)
    np.put_along_axis(v, at, signs, 1)
    h = 0.01 * max(float(np.std(np.asarray(given))), 1e-6)
    step = ops.convert_to_tensor((h * v).reshape(g.shape).astype("float32"))
    ends = [
        np.asarray(_inner(u, layer(end, training=False)), "float64") for end in (given + step, given - step)
    ]
    moved, promised = ends[0] - ends[1], 2 * h * (flat * v).sum(1)
    unsure = 1e-4 * np.abs(np.asarray(made)).max() + 1e-12  # what rounding may do
    told = np.maximum(np.abs(moved), promised) > unsure
    off = (moved < 0.25 * promised) | (moved > 2 * promised)
    return bool(told.sum() > len(told) / 2 and off[told].mean() > 0.5)


def _inner(u: Tensor, v: Tensor) -> Tensor:
    return ops.sum(flatten(u * v), axis=1)


class _Through(keras.layers.Layer):
    """A net in inference mode; gradients pass some of its layers as if they were the identity."""

    def __init__(self, net: keras.Model, layers: list[keras.layers.Layer]) -> None:
        super().__init__(name="straight_through")
        self.net = net
        self._passed: Callable[[], Any] = lambda: layers  # those of the net: not counted twice

    def call(self, images: Tensor) -> Tensor:
        with calling(self._passed(), _straight):
            return self.net(images, training=False)


def _straight(layer: keras.layers.Layer, call: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
    del layer
    return x + ops.stop_gradient(call(x, *args, **options) - x)


def straight_through(
    model: keras.Model, layers: list[keras.layers.Layer], shape: tuple[int, ...]
) -> keras.Model | None:
    """A net with the answers of `model` whose gradients pass these layers unchanged (BPDA, Athalye et al.,
    arXiv:1802.00420, sec. 4.1), those of them that return the shape they are given; None if there is none.
    Images are of `shape` (H, W, C)."""
    images = ops.zeros((1, *shape))
    seen, _ = calls(layers, lambda: model(images, training=False))
    kept = [layer for given, made, layer in seen if tuple(given.shape) == tuple(made.shape)] if seen else []
    if not kept:
        return None
    inputs = keras.Input(shape)
    return keras.Model(inputs, _Through(model, kept)(inputs))
