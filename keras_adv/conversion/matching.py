"""Whose weights belong to which layer: by kind, shape and order, for the names are each author's own."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_adv.conversion.checkpoint import Source
from keras_adv.validate import InvalidInput

L = keras.layers
KINDS = {L.Conv2D: "conv", L.Dense: "dense", L.BatchNormalization: "norm"}
_PASSING = (L.Dropout, L.ReLU, L.LeakyReLU, L.Activation, L.Identity)
"""Layers that leave the order of values as it is."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A layer that wants weights.

    Attributes:
        layer: the layer.
        on_shortcut: whether it lies on a branch that is added to the main one.
        image: (H, W, C) of the map that was flattened into what it takes; None where there was none.
    """

    layer: keras.layers.Layer
    on_shortcut: bool
    image: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """ "conv", "dense" or "norm"."""
        return KINDS[type(self.layer)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first tensor that PyTorch has for such a layer."""
        if self.kind == "norm":
            return tuple(self.layer.gamma.shape)
        shape = tuple(self.layer.kernel.shape)
        return shape[::-1] if self.kind == "dense" else (shape[3], shape[2], shape[0], shape[1])


def targets(model: keras.Model) -> list[Target]:
    """The layers of a functional model that want weights, each after those whose result it takes, the main
    branch before the shortcut: the order in which PyTorch's users define them.

    Raises:
        InvalidInput: the model has weights in a layer of another kind.
    """
    found = []
    for operation, on_shortcut in _in_order(model.outputs[0]._keras_history.operation):
        if type(operation) in KINDS:
            image = _flattened(operation) if isinstance(operation, L.Dense) else None
            found.append(Target(operation, on_shortcut, image))
        elif getattr(operation, "weights", []) and not isinstance(operation, L.Normalization):
            raise InvalidInput(
                f"`architecture` must be of convolutions, dense layers and batch normalisation. "
                f"Received: a {type(operation).__name__}"
            )
    return found


def _before(operation: Any) -> list[Any]:
    """The operations whose results an operation takes."""
    return [t._keras_history.operation for node in operation._inbound_nodes for t in node.input_tensors]


def _in_order(last: Any) -> Iterator[tuple[Any, bool]]:
    seen: set[int] = set()
    waiting = [(last, False, False)]
    while waiting:
        operation, on_shortcut, finished = waiting.pop()
        if finished:
            yield operation, on_shortcut
        elif id(operation) not in seen:
            seen.add(id(operation))
            waiting.append((operation, on_shortcut, True))
            given = _before(operation)
            waiting += [(one, on_shortcut or n > 0, False) for n, one in reversed([*enumerate(given)])]


def _flattened(dense: keras.layers.Layer) -> tuple[int, ...] | None:
    (operation,) = _before(dense)
    while isinstance(operation, _PASSING):
        (operation,) = _before(operation)
    return tuple(operation.input.shape[1:]) if isinstance(operation, L.Flatten) else None


def match(wanted: Sequence[Target], given: Sequence[Source]) -> list[tuple[Target, Source]]:
    """Each layer with its tensors: the first of a kind and shape with the first, and so on. Where names tell
    shortcuts, those go to shortcuts.

    Raises:
        InvalidInput: layers without tensors, or tensors without a layer; the message names both.
    """
    named = any(source.on_shortcut for source in given)
    waiting: dict[Any, collections.deque[Source]] = collections.defaultdict(collections.deque)
    for source in given:
        waiting[source.kind, source.shape, named and source.on_shortcut].append(source)
    pairs, empty = [], []
    for target in wanted:
        found = waiting[target.kind, target.shape, named and target.on_shortcut]
        if found:
            pairs.append((target, found.popleft()))
        else:
            empty.append(target)
    left = {id(source) for several in waiting.values() for source in several}
    if left or empty:
        raise _misfit(wanted, given, empty, [source for source in given if id(source) in left])
    return pairs


def _misfit(
    wanted: Sequence[Target], given: Sequence[Source], empty: Sequence[Target], left: Sequence[Source]
) -> InvalidInput:
    """The report of what did not fit."""

    def listed(names: Sequence[str]) -> str:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return (", ".join(names[:3]) + more) or "none"

    def size(shape: Sequence[int]) -> str:
        return "x".join(map(str, shape))

    def count(several: Sequence[Any]) -> str:
        counts = collections.Counter(one.kind for one in several)
        return ", ".join(f"{counts[kind]} {kind}" for kind in ("conv", "norm", "dense"))

    leftover = [f"{source.name[-60:] or source.kind} ({size(source.shape)})" for source in left]
    without = [f"{target.layer.name} ({target.kind} {size(target.shape)})" for target in empty]
    return InvalidInput(
        f"`architecture` must be that of the checkpoint. Received: tensors without a layer: "
        f"{listed(leftover)}; layers without tensors: {listed(without)}. The checkpoint has {count(given)}; "
        f"the architecture {count(wanted)}"
    )


def carry_over(pairs: Sequence[tuple[Target, Source]]) -> None:
    """Gives each layer its tensors, in the order of Keras' axes.

    A bias, scale or shift that the checkpoint leaves out is 0, 1 or 0, which computes the same.

    Raises:
        InvalidInput: a normalisation without its statistics, or a tensor for which a layer has no weight.
    """
    made = [(target.layer, _weights(target, source)) for target, source in pairs]
    for layer, weights in made:
        layer.set_weights(weights)


def _weights(target: Target, source: Source) -> list[np.ndarray]:
    parts, layer = source.parts, target.layer
    if target.kind == "norm":
        (size,) = target.shape
        scale, shift = parts.get("weight", np.ones(size)), parts.get("bias", np.zeros(size))
        return _of_shape(source, {"weight": scale, "bias": shift, **_statistics(source)}, (size,))
    if "bias" in parts and not layer.use_bias:
        raise InvalidInput(f"`architecture` must have a bias at {layer.name}. Received: {source.name}.bias")
    bias = {"bias": parts.get("bias", np.zeros(target.shape[0]))} if layer.use_bias else {}
    return [_kernel(target, parts["weight"]), *_of_shape(source, bias, target.shape[:1])]


def _statistics(source: Source) -> dict[str, np.ndarray]:
    names = ("running_mean", "running_var")
    if missing := [name for name in names if name not in source.parts]:
        raise InvalidInput(f"`file` must have {' and '.join(missing)} of {source.name}. Received: none")
    return {name: source.parts[name] for name in names}


def _of_shape(source: Source, parts: dict[str, np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray]:
    for name, value in parts.items():
        if value.shape != shape:
            raise InvalidInput(
                f"`file` must have {source.name}.{name} of shape {shape}. Received: shape {value.shape}"
            )
    return [*parts.values()]


def _kernel(target: Target, weight: np.ndarray) -> np.ndarray:
    """(O, I, H, W) -> (H, W, I, O); (O, I) -> (I, O), where PyTorch flattened (C, H, W) and Keras
    (H, W, C)."""
    if target.kind == "conv":
        return weight.transpose(2, 3, 1, 0)
    if target.image is not None:
        height, width, channels = target.image
        weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return weight.T
