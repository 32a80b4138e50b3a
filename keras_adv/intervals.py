"""Interval bounds: what a net can answer anywhere in a linf ball (Gowal et al., arXiv:1810.12715)."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor
from keras_adv.backend import Net
from keras_adv.layers import LogitsOf, linear
from keras_adv.losses import pick

L = keras.layers
_INCREASING = frozenset([
    L.Add, L.Average, L.AveragePooling2D, L.Concatenate, L.Cropping2D, L.ELU, L.Flatten,
    L.GlobalAveragePooling2D, L.GlobalMaxPooling2D, L.LeakyReLU, L.MaxPooling2D, L.Maximum, L.Minimum,
    L.Normalization, L.Permute, L.ReLU, L.RepeatVector, L.Reshape, L.UpSampling2D, L.ZeroPadding2D,
])  # fmt: skip
"""Layers that rise in all that they are given: they map ends to ends. Those of a class derived from one of
them may do anything."""
_SILENT = frozenset([L.Dropout, L.GaussianDropout, L.GaussianNoise, L.Identity, L.SpatialDropout2D])
"""Layers that do nothing in inference."""
A = keras.activations
_RISING = frozenset([
    A.linear, A.relu, A.relu6, A.leaky_relu, A.elu, A.selu, A.celu, A.softplus, A.softsign, A.sigmoid,
    A.hard_sigmoid, A.log_sigmoid, A.tanh, A.hard_tanh, A.exponential,
])  # fmt: skip
_LOWEST = {A.silu: -1.2784645, A.gelu: -0.7517915}
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
    found = _bounds(net, low, high, _layer)
    return found.low, found.high


def margin_bounds(net: Net, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Upper bounds (B, K) of z_k - z_y over all images between `low` and `high`; 0 at k = y.

    The last Dense layer is bounded for each difference of two logits as one: narrower than the difference of
    their bounds. Where all others are below 0 no image between the two is classified wrong. Cost and errors
    as `logit_bounds`.
    """

    def end(layer: keras.layers.Layer, *given: Interval) -> Any:
        if type(layer) is not L.Dense or layer.activation is not A.linear or _is_quantized(layer):
            logits = _layer(layer, *given)
            return logits.high - pick(logits.low, y)[:, None]
        (z,) = given
        kernel = ops.cast(layer.kernel, "float32")
        rival = kernel[None] - ops.take(ops.transpose(kernel), y, axis=0)[:, :, None]
        gap = ops.einsum("bd,bdk->bk", z.centre, rival) + ops.einsum("bd,bdk->bk", z.radius, ops.abs(rival))
        return gap if layer.bias is None else gap + layer.bias - ops.take(layer.bias, y)[:, None]

    upper = _bounds(net, low, high, end)
    return ops.where(ops.one_hot(y, upper.shape[1], dtype="bool"), 0.0, upper)


def _bounds(net: Net, low: Tensor, high: Tensor, end: Callable[..., Any]) -> Any:
    """What `end(last layer, bounds of its input)` gives, by the weights that `net` uses."""
    known = list(zip(net.model.trainable_variables, net.values, strict=True))
    known += [(v, v.value) for v in net.model.non_trainable_variables]  # scopes do not chain
    with keras.StatelessScope(state_mapping=known):
        return _walk(net.model, Interval(low, high), end)


def _walk(model: Any, x: Interval, end: Callable[..., Any]) -> Any:
    graph = getattr(model, "_functional", model)  # a Sequential model's is inside
    if not hasattr(graph, "_run_through_graph"):
        raise _unknown(model, "whose graph Keras does not know")
    last = graph.outputs[0]._keras_history.operation
    calls = [node.operation is last for nodes in graph._nodes_by_depth.values() for node in nodes]
    if sum(calls) > 1:
        raise _unknown(last, f"named {last.name!r}, called more than once")

    def bounded(layer: Any) -> Callable[..., Any]:
        finish = end if layer is last else _layer
        if isinstance(layer, LogitsOf):
            return lambda z, **options: _adapted(_plainly(layer, options), z, finish)
        if isinstance(layer, keras.Model):
            return lambda z, **options: _walk(_plainly(layer, options), z, finish)
        return lambda *given, **options: finish(_plainly(layer, options), *keras.tree.flatten(given))

    return graph._run_through_graph([x], operation_fn=bounded)


def _adapted(layer: LogitsOf, z: Interval, end: Callable[..., Any]) -> Any:
    """Bounds of the logits of the model in an adapter, the softmax or sigmoid at its end left out."""
    if layer.output_name is not None or layer.turn > 1:
        raise _unknown(layer, f"named {layer.name!r}, of a model with several outputs or calls of its end")

    def plain(last: Any, *given: Interval) -> Any:
        squashes = bool(layer.ends) and last is layer.ends[0]
        return end(linear(last) if squashes else last, *given)

    return _walk(layer.model, z, plain)


def _plainly(layer: Any, options: dict[str, Any]) -> Any:
    """The layer. Raises InvalidInput where the net calls it with options, such as training=True."""
    if any(value is not None and value is not False for value in options.values()):
        raise _unknown(layer, f"named {layer.name!r}, called with {sorted(options)}")
    return layer


def _is_quantized(layer: Any) -> bool:
    return getattr(layer, "quantization_mode", None) is not None


def _layer(layer: Any, *given: Interval) -> Interval:
    """Bounds of what a layer returns in inference, given those of its inputs."""
    kind = type(layer)
    if kind.__module__ == "keras.src.ops.numpy":
        return _computed(layer, given)
    if not all(isinstance(z, Interval) for z in given) or _is_quantized(layer):
        raise _unknown(layer, f"named {layer.name!r}")
    if kind in _SILENT:
        return given[0]
    smooth = kind is L.UpSampling2D and layer.interpolation not in ("nearest", "bilinear")
    if kind in _INCREASING and not smooth:
        low, high = [z.low for z in given], [z.high for z in given]
        return Interval(*(_call(layer, ends) for ends in (low, high)))
    if kind is L.Rescaling:
        ends = [_call(layer, [z]) for z in (given[0].low, given[0].high)]
        return Interval(ops.minimum(*ends), ops.maximum(*ends))
    if kind is L.Activation:
        return _activated(layer, layer.activation, given[0])
    if kind in _AFFINE:
        centre, radius = _AFFINE[kind](layer, given[0])
        made = Interval(centre - radius, centre + radius)
        return _activated(layer, getattr(layer, "activation", None), made)
    raise _unknown(layer, f"named {layer.name!r}")


def _computed(operation: Any, given: tuple[Any, ...]) -> Interval:
    """Bounds of what is written without a layer: x + y, a concatenation, -x, and x with numbers that are
    added or subtracted, or by which it is multiplied or divided: each entry rises in x or falls."""
    name, known = type(operation).__name__, [isinstance(z, Interval) for z in given]
    rises = all(known) and (name == "Concatenate" or (name, len(given)) == ("Add", 2))
    by_numbers = sum(known) == 1 and name in ("Negative", "Add", "Subtract", "Multiply")
    if not (rises or by_numbers or (name in ("Divide", "TrueDivide") and known == [True, False])):
        raise _unknown(operation, f"named {operation.name!r}")
    both = ([getattr(z, end, z) for z in given] for end in ("low", "high"))
    ends = [operation(part) if name == "Concatenate" else operation(*part) for part in both]
    return Interval(ops.minimum(*ends), ops.maximum(*ends))


def _call(layer: Any, inputs: list[Tensor]) -> Tensor:
    """What a layer, which takes its inputs one by one or as a list, returns; in float32, whatever it computes
    in."""
    merges = isinstance(layer, keras.layers.Layer) and len(inputs) > 1
    return ops.cast(layer(inputs) if merges else layer(*inputs), "float32")


def _activated(layer: Any, activation: Any, z: Interval) -> Interval:
    if activation is None:
        return z
    known = isinstance(activation, types.FunctionType)
    if known and activation in _RISING:
        return Interval(activation(z.low), activation(z.high))
    if known and activation in _LOWEST:
        low, high, point = activation(z.low), activation(z.high), _LOWEST[activation]
        inside = (z.low < point) & (z.high > point)
        least = activation(ops.full_like(z.low, point))
        return Interval(ops.where(inside, least, ops.minimum(low, high)), ops.maximum(low, high))
    raise _unknown(layer, f"with the activation {getattr(activation, '__name__', activation)}")


def _dense(layer: Any, z: Interval) -> tuple[Tensor, Tensor]:
    centre = ops.matmul(z.centre, layer.kernel)
    radius = ops.matmul(z.radius, ops.abs(layer.kernel))
    return centre if layer.bias is None else centre + layer.bias, radius


def _einsum(layer: Any, z: Interval) -> tuple[Tensor, Tensor]:
    centre = ops.einsum(layer.equation, z.centre, layer.kernel)
    radius = ops.einsum(layer.equation, z.radius, ops.abs(layer.kernel))
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
    return ops.cast(layer(z.centre, training=False), "float32"), z.radius * ops.reshape(slope, shape)


_AFFINE: dict[Any, Callable[[Any, Interval], tuple[Tensor, Tensor]]] = {
    L.Dense: _dense,
    L.EinsumDense: _einsum,
    L.Conv2D: _convolution,
    L.BatchNormalization: _normalisation,
}


def _unknown(layer: Any, which: str) -> validate.InvalidInput:
    known = sorted(kind.__name__ for kind in {*_AFFINE, *_INCREASING, *_SILENT, L.Activation, L.Rescaling})
    allowed = f"of Keras' own layers whose interval bounds are known: {', '.join(known)}"
    return validate.unusable("model", allowed, f"a {type(layer).__name__} {which}")
