"""The features of a classifier: what its layer named "features" returns or, where it has none, what its last
Dense layer is given."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor, flatten

NAME = "features"


def with_features(model: keras.layers.Layer, run: Callable[[], Any]) -> tuple[Tensor, Any]:
    """(features (B, ...), what `run` returns), of one pass through any kind of model.

    Args:
        model: the classifier: functional, Sequential or subclassed, with layers at any depth.
        run: makes the pass; of several Dense layers the one that is called last counts.

    Raises:
        InvalidInput: the model has no layer named "features" and no Dense layer, or the pass calls none.
    """
    named, watched = _watched(model)
    seen, returned = calls(watched, run)
    if not seen:
        raise _without(model)
    given, made, _ = seen[-1]
    return made if named else given, returned


def last_layer(model: keras.Model, layers: list[keras.layers.Layer]) -> keras.layers.Layer:
    """Which of these layers of a functional model is called last. The order in which Keras lists them is not
    that of the calls.

    Cost: a forward pass of one image, where there are several.
    """
    if len(layers) == 1:
        return layers[0]
    images = ops.zeros((1, *model.input_shape[1:]))
    return calls(layers, lambda: model(images))[0][-1][2]


def leaves(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers of a model, at any depth, that hold no others."""
    found = model._flatten_layers(include_self=False)
    return [layer for layer in found if not list(layer._flatten_layers(include_self=False))]


Call = tuple[Any, Any, keras.layers.Layer]
"""What a layer was given, what it returned, and the layer."""


def calls(watched: list[keras.layers.Layer], run: Callable[[], Any]) -> tuple[list[Call], Any]:
    """(the calls of these layers, in order; what `run`, which makes them, returns)."""
    seen: list[Call] = []

    def see(layer: keras.layers.Layer, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        returned = call(*args, **options)
        seen.append((next(iter((*args, *options.values())), None), returned, layer))
        return returned

    with calling(watched, see):
        returned = run()
    return seen, returned


@contextlib.contextmanager
def calling(layers: list[keras.layers.Layer], instead: Callable[..., Any]) -> Iterator[None]:
    """While the context is open, a call of one of the layers in this thread is `instead(layer, its own call,
    ...)`. Other threads, in which TensorFlow traces other devices' steps, see nothing of it."""
    mine = (threading.get_ident(), instead)
    for layer in layers:
        with _LOCK:
            if not isinstance(watched := vars(layer).get("call"), _WatchedCall):
                watched = vars(layer)["call"] = _WatchedCall(layer, vars(layer).get("call"))
            watched.watchers.append(mine)
    try:
        yield
    finally:
        for layer in layers:
            with _LOCK:
                watched = vars(layer)["call"]
                watched.watchers.remove(mine)
                if not watched.watchers:
                    vars(layer).pop("call")
                    if watched.before is not None:
                        vars(layer)["call"] = watched.before


_LOCK = threading.Lock()


class _WatchedCall:
    """The `call` of a layer while threads watch it.

    Args:
        layer: the layer.
        before: what stood in the place of its class' `call`, or None.
    """

    def __init__(self, layer: keras.layers.Layer, before: Any) -> None:
        self.layer, self.own, self.before = layer, layer.call, before
        self.watchers: list[tuple[int, Callable[..., Any]]] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        call = self.own
        for thread, instead in self.watchers:
            if thread == threading.get_ident():
                call = functools.partial(instead, self.layer, call)
        return call(*args, **options)


def has_features(model: keras.layers.Layer) -> bool:
    """Whether a model has a layer that may tell its features."""
    return bool(_candidates(model)[1])


def check_features(model: keras.layers.Layer) -> None:
    """Raises InvalidInput where a model has no layer that may tell its features."""
    _watched(model)


def _candidates(model: keras.layers.Layer) -> tuple[bool, list[keras.layers.Layer]]:
    """(whether it has a layer named "features", the layers that may tell the features)."""
    layers = list(model._flatten_layers(include_self=False))
    named = [layer for layer in layers if layer.name == NAME]
    return bool(named), named or [layer for layer in layers if isinstance(layer, keras.layers.Dense)]


def _watched(model: keras.layers.Layer) -> tuple[bool, list[keras.layers.Layer]]:
    """As `_candidates`. Raises InvalidInput where there are none."""
    named, layers = _candidates(model)
    if not layers:
        raise _without(model)
    return named, layers


def _without(model: keras.layers.Layer) -> validate.InvalidInput:
    names = [layer.name for layer in model._flatten_layers(include_self=False)]
    return validate.invalid("model", "a model with a layer named 'features', or a Dense layer", names)


def encoder(net: keras.Model, name: str = "encoder") -> keras.Model:
    """The net up to its features, a model of its very layers: images (B, H, W, C) -> (B, F).

    Where Keras knows the graph of the net it is a functional model, whose weights are those before the
    features; else an `Encoder`.

    Raises:
        InvalidInput: as `with_features`.
    """
    found = _symbolic(net)
    if found is None:
        return Encoder(net, name=name)
    flat = found if len(found.shape) == 2 else keras.layers.Flatten()(found)
    return keras.Model(net.inputs[0], flat, name=name)


def with_classes(net: keras.Model, classes: int) -> keras.Model:
    """The very layers of `net` up to its features, and a fresh Dense layer of so many logits.

    Raises:
        InvalidInput: as `with_features`.
    """
    body = encoder(net)
    if isinstance(body, Encoder):
        inputs = keras.Input(net.input_shape[1:])
        phi = body(inputs)
    else:
        inputs, phi = body.inputs[0], body.outputs[0]
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(phi), name=net.name)


def with_fresh_weights(net: keras.Model) -> keras.Model:
    """A functional model as `net`, its weights drawn anew; those that no training changes are its own, but
    for the statistics of batch normalisation."""
    fresh = keras.models.clone_model(net)
    for layer, old in zip(leaves(fresh), leaves(net), strict=True):
        if not isinstance(layer, keras.layers.BatchNormalization):
            for own, other in zip(layer.non_trainable_weights, old.non_trainable_weights, strict=True):
                own.assign(other)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # what it keeps beside its weights
    return fresh


def feature_size(net: keras.Model) -> int:
    """F of a functional model's features (B, F), whatever stands inside it."""
    found = _symbolic(net)
    if found is None:
        found, _ = with_features(net, lambda: net(ops.zeros((1, *net.input_shape[1:]))))
    return math.prod(found.shape[1:])


def _symbolic(net: keras.Model) -> Any:
    """The features as a tensor of the net's own graph, or None where it has none that reaches them."""
    named, watched = _watched(net)
    if not getattr(net, "inputs", None):
        return None
    layer = last_layer(net, watched)
    if all(layer is not own for own in net.layers):
        return None
    try:
        return layer.output if named else layer.input
    except (AttributeError, ValueError):  # it stands in several places, or in none
        return None


class _Reached(Exception):
    """The features are there; what follows them need not run."""


@keras.saving.register_keras_serializable(package="keras_adv")
class Encoder(keras.Model):
    """`encoder` of a model whose graph Keras does not know. It learns what `net` learns, but for a Dense
    layer that is given the features, which it does not run.

    Args:
        net: the classifier, a functional model around it, whose very layers these are.
    """

    def __init__(self, net: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = net
        self._named, watched = _watched(net)
        self._layer = last_layer(net, watched)
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        seen: list[Tensor] = []

        def stop(layer: keras.layers.Layer, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
            seen.append(call(*args, **options) if self._named else (*args, *options.values())[0])
            raise _Reached

        with calling([self._layer], stop):
            try:
                self.net(images, training=training)
            except Exception:  # Keras may wrap it
                if not seen:
                    raise
        return flatten(seen[0])

    @property
    def trainable_variables(self) -> list[Any]:
        behind = set() if self._named else {id(v) for v in self._layer.variables}
        return [v for v in self.net.trainable_variables if id(v) not in behind]

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "net": keras.saving.serialize_keras_object(self.net)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Encoder:
        net = keras.saving.deserialize_keras_object(config["net"], custom_objects)
        return cls(net, name=config["name"])
