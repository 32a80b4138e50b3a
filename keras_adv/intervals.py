"""Interval bounds: what a net can answer anywhere in a linf ball (Gowal et al., arXiv:1810.12715)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor
from keras_adv.backend import Net
from keras_adv.losses import pick

_INCREASING = {
    "Add", "Average", "AveragePooling2D", "Concatenate", "Cropping2D", "ELU", "Flatten",
    "GlobalAveragePooling2D", "GlobalMaxPooling2D", "LeakyReLU", "MaxPooling2D", "Maximum", "Minimum",
    "Normalization", "Permute", "ReLU", "RepeatVector", "Reshape", "UpSampling2D", "ZeroPadding2D",
}  # fmt: skip
"""Layers and operations that rise in all that they are given: they map ends to ends."""
_SILENT = {"Dropout", "GaussianDropout", "GaussianNoise", "Identity", "SpatialDropout2D"}
"""Layers that do nothing in inference."""
_RISING = {
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "softsign", "sigmoid",
    "hard_sigmoid", "log_sigmoid", "tanh", "hard_tanh", "exponential",
}  # fmt: skip
_LOWEST = {"silu": -1.2784645, "gelu": -0.7517915}
"""Activations that fall up to this point, and rise from it on."""


class Interval:
    """Bounds low <= v <= high of a tensor v, entry by entry."""

    def __init__(self, low: Tensor, high: Tensor) -> None:
        self.low, self.high = low, high

    @property
    def centre(self) -> Tensor:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def radius(self) -> Tensor:
        """Half of the width."""
        return (self.high - self.low) / 2


def around(x: Tensor, eps: Tensor | float) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each pixel in the linf ball of radius eps around x, in the box."""
    return ops.clip(x - eps, 0.0, 1.0), ops.clip(x + eps, 0.0, 1.0)


def logit_bounds(net: Net, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds (B, K), (B, K) of the logits over all images between `low` and `high` (B, H, W, C), layer by
    layer.

    They hold for the net in inference, up to the rounding of float32; differentiable by the weights. Exact
    for one linear layer; the deeper a net that was not trained for it, the wider. Cost: two forward passes.

    Raises:
        InvalidInput: the model is not functional or Sequential, or has a layer whose bounds are not known.
    """
    found = _bounds(net, low, high, lambda layer, z: _layer(layer, z))
    return found.low, found.high


def margin_bounds(net: Net, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Upper bounds (B, K) of z_k - z_y over all images between `low` and `high`; 0 at k = y.

    The last Dense layer is bounded for each difference of two logits as one: narrower than the difference of
    their bounds. Where all others are below 0 no image between the two is classified wrong. Cost and errors
    as `logit_bounds`.
    """

    def end(layer: keras.layers.Layer, z: Interval) -> Any:
        linear = isinstance(layer, keras.layers.Dense) and keras.activations.serialize(layer.activation)
        if linear != "linear":
            logits = _layer(layer, z)
            return logits.high - pick(logits.low, y)[:, None]
        kernel = ops.cast(layer.kernel, "float32")
        rival = kernel[None] - ops.take(ops.transpose(kernel), y, axis=0)[:, :, None]
        gap = ops.einsum("bd,bdk->bk", z.centre, rival) + ops.einsum("bd,bdk->bk", z.radius, ops.abs(rival))
        return gap if layer.bias is None else gap + layer.bias - ops.take(layer.bias, y)[:, None]

    upper = _bounds(net, low, high, end)
    return ops.where(ops.one_hot(y, upper.shape[1], dtype="bool"), 0.0, upper)


def _bounds(net: Net, low: Tensor, high: Tensor, end: Callable[[Any, Interval], Any]) -> Any:
    """What `end(last layer, bounds of its input)` gives, by the weights that `net` uses."""
    known = list(zip(net.model.trainable_variables, net.values, strict=True))
    with keras.StatelessScope(state_mapping=known):
        return _walk(net.model, Interval(low, high), end)


def _walk(model: Any, x: Interval, end: Callable[[Any, Interval], Any]) -> Any:
    graph = getattr(model, "_functional", model)  # a Sequential model's is inside
    if not hasattr(graph, "_run_through_graph"):
        raise _unknown(model, "whose graph Keras does not know")
    last = graph.outputs[0]._keras_history.operation

    def bounded(layer: Any) -> Callable[..., Any]:
        finish = end if layer is last else lambda layer, *z: _layer(layer, *z)
        if isinstance(layer, keras.Model):
            return lambda z, **_: _walk(layer, z, finish)
        return lambda *given, **_: finish(layer, *keras.tree.flatten(given))

    return graph._run_through_graph([x], operation_fn=bounded)


def _layer(layer: Any, *given: Interval) -> Interval:
    """Bounds of what a layer returns in inference, given those of its inputs."""
    name = type(layer).__name__
    if name in _SILENT:
        return given[0]
    if name in _INCREASING and all(isinstance(z, Interval) for z in given):
        low, high = [z.low for z in given], [z.high for z in given]
        return Interval(*(_call(layer, ends) for ends in (low, high)))
    if isinstance(layer, keras.layers.Rescaling):
        ends = [layer(z) for z in (given[0].low, given[0].high)]
        return Interval(ops.minimum(*ends), ops.maximum(*ends))
    if isinstance(layer, keras.layers.Activation):
        return _activated(layer, layer.activation, given[0])
    for kind, affine in _AFFINE.items():
        if isinstance(layer, kind):
            centre, radius = affine(layer, given[0])
            made = Interval(centre - radius, centre + radius)
            return _activated(layer, getattr(layer, "activation", None), made)
    raise _unknown(layer, f"named {layer.name!r}")


def _call(layer: Any, inputs: list[Tensor]) -> Tensor:
    """A layer takes its inputs one by one, or as a list."""
    merges = isinstance(layer, keras.layers.Layer) and len(inputs) > 1
    return layer(inputs) if merges else layer(*inputs)


def _activated(layer: Any, activation: Any, z: Interval) -> Interval:
    if activation is None:
        return z
    name = keras.activations.serialize(activation)
    low, high = activation(z.low), activation(z.high)
    if name in _RISING:
        return Interval(low, high)
    if name in _LOWEST:
        point = _LOWEST[name]
        inside = (z.low < point) & (z.high > point)
        least = activation(ops.full_like(z.low, point))
        return Interval(ops.where(inside, least, ops.minimum(low, high)), ops.maximum(low, high))
    raise _unknown(layer, f"with the activation {name!r}")


def _dense(layer: Any, z: Interval) -> tuple[Tensor, Tensor]:
    centre = ops.matmul(z.centre, layer.kernel)
    radius = ops.matmul(z.radius, ops.abs(layer.kernel))
    return centre if layer.bias is None else centre + layer.bias, radius


def _convolution(layer: Any, z: Interval) -> tuple[Tensor, Tensor]:
    centre = layer.convolution_op(z.centre, layer.kernel)
    radius = layer.convolution_op(z.radius, ops.abs(layer.kernel))
    if layer.bias is None:
        return centre, radius
    first = layer.data_format == "channels_first"
    return centre + (layer.bias[:, None, None] if first else layer.bias), radius


def _normalisation(layer: Any, z: Interval) -> tuple[Tensor, Tensor]:
    slope = ops.rsqrt(layer.moving_variance + layer.epsilon)
    slope = ops.abs(slope * layer.gamma if layer.scale else slope)
    shape = [1] * len(z.low.shape)
    shape[layer.axis] = -1
    return layer(z.centre, training=False), z.radius * ops.reshape(slope, shape)


_AFFINE: dict[Any, Callable[[Any, Interval], tuple[Tensor, Tensor]]] = {
    keras.layers.Dense: _dense,
    keras.layers.Conv2D: _convolution,
    keras.layers.BatchNormalization: _normalisation,
}


def _unknown(layer: Any, which: str) -> validate.InvalidInput:
    allowed = "of layers whose interval bounds are known: Dense, Conv2D, BatchNormalization, " + ", ".join(
        sorted(_INCREASING | _SILENT)
    )
    return validate.unusable("model", allowed, f"a {type(layer).__name__} {which}")
