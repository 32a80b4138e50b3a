"""Keras layers that are saved in model files, and how a net gets them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import noise, validate
from keras_adv.arrays import Tensor
from keras_adv.backend import batch_numbers
from keras_adv.features import NAME, Call, calling, calls, encoder, leaves
from keras_adv.numerics.simplex import simplex


@keras.saving.register_keras_serializable(package="keras_adv")
class Noise(keras.layers.Layer):
    """Adds N(0, stddev^2), in training and in inference, fresh for each image and each call.

    Keras' GaussianNoise is silent in inference; the critic's noise is always on (thesis 4.5). The
    stream is the same on every backend.

    Args:
        stddev: standard deviation in units of the input, at least 0.
        seed: start of the stream.
    """

    def __init__(self, stddev: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        validate.number("stddev", stddev, low=0)
        self.stddev, self.seed = stddev, seed
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor) -> Tensor:
        state = ops.cast(self.generator.next(), "uint32")
        keys = noise.seeds(noise.fold(state[0], state[1]), batch_numbers(inputs))
        drawn = noise.normal(keys, tuple(inputs.shape[1:]))
        return inputs + self.stddev * ops.cast(drawn, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stddev": self.stddev, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_adv")
class LogitsOf(keras.layers.Layer):
    """What a classifier gives to its last softmax or sigmoid, in float32.

    The softmax or sigmoid may be a layer or the activation of one, at any depth of any kind of model, with
    layers behind it that change no value; the layers are the model's very own, and it is left as it is. One
    that is computed without a layer stays.

    Args:
        model: the classifier.
        output: key or number of the output that counts, of a model with several.
    """

    def __init__(self, model: keras.Model, output: str | int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.model, self.output_name = model, output
        self.ends: list[keras.layers.Layer] = []
        """The layer at the end, where it is a softmax or sigmoid; else empty."""
        self.turn = 0
        """Which of the calls of that layer in a pass is the last one."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        drawn = np.random.default_rng(0).random((4, *input_shape[1:])).astype("float32")
        probe = ops.convert_to_tensor(drawn)
        seen, returned = calls(leaves(self.model), lambda: self.model(probe))
        found = self._chosen(returned)
        self.ends, self.turn = _end(found, seen)
        if self.ends:
            squash: Any = _squash(self.ends[0])
            again = squash(self.call(probe))
            close = 1e-4 if self.ends[0].compute_dtype == "float32" else 1e-2
            if not np.allclose(again, ops.cast(found, "float32"), atol=close):
                self.ends = []  # what the layer returns is more than its softmax
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        turns = itertools.count(1)

        def instead(layer: keras.layers.Layer, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
            if next(turns) != self.turn:
                return call(*args, **options)
            return _without_squash(layer, *args, **options)

        with calling(self.ends, instead):
            found = self.model(inputs, training=training)
        return ops.cast(self._chosen(found), "float32")

    def _chosen(self, found: Any) -> Tensor:
        return found if self.output_name is None else found[self.output_name]

    def get_config(self) -> dict[str, Any]:
        model = keras.saving.serialize_keras_object(self.model)
        model.pop("compile_config", None)  # losses and metrics of the owner's, which nothing here needs
        return {**super().get_config(), "model": model, "output": self.output_name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LogitsOf:
        return cls(**{**config, "model": keras.saving.deserialize_keras_object(config["model"])})


A = keras.activations
_SQUASHING = {
    A.softmax: ops.softmax,
    A.sigmoid: ops.sigmoid,
    ops.softmax: ops.softmax,
    ops.sigmoid: ops.sigmoid,
}
"""Activations whose argument is the logits."""
_UNCHANGED = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Identity, keras.layers.Reshape)
"""Layers that change no value in inference."""


def _end(found: Any, seen: list[Call]) -> tuple[list[keras.layers.Layer], int]:
    """(the layer whose softmax or sigmoid `found` is, or none; which of its calls made it), of a pass."""
    for number in range(len(seen) - 1, -1, -1):
        given, returned, layer = seen[number]
        if returned is not found:
            continue
        if _squash(layer) is not None:
            return [layer], sum(other is layer for *_, other in seen[: number + 1])
        linear = getattr(layer, "activation", None) is A.linear and isinstance(layer, keras.layers.Activation)
        if not linear and not isinstance(layer, _UNCHANGED):
            break
        found = given
    return [], 0


def _squash(layer: keras.layers.Layer) -> Callable[..., Any] | None:
    if isinstance(layer, keras.layers.Softmax):
        return ops.softmax
    return _SQUASHING.get(getattr(layer, "activation", None))


def _without_squash(layer: keras.layers.Layer, *args: Any, **options: Any) -> Any:
    """What the layer returns without its softmax or sigmoid."""
    if isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        return (*args, *options.values())[0]
    return type(layer).call(linear(layer), *args, **options)


def linear(layer: keras.layers.Layer) -> Any:
    """A layer that returns what this one does without its softmax or sigmoid. The layer itself is not
    touched: other threads see it as it is."""
    if isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        return keras.layers.Identity(name=layer.name)
    twin = object.__new__(type(layer))
    vars(twin).update({**vars(layer), "activation": A.linear})
    return twin


CENTRES = "centres"
"""Name of the layer that holds the fixed centres of a head."""


def dot_head(phi: Tensor, centres: np.ndarray) -> Tensor:
    """phi (B, D) -> logits phi . mu_k (B, K), without bias: Manifold-Aware Training (sec. 3.3).

    All centres (K, D) have one length, so the largest logit is the largest cosine. One Dense layer.
    """
    layer = keras.layers.Dense(len(centres), use_bias=False, trainable=False, dtype="float32", name=CENTRES)
    logits = layer(phi)
    layer.kernel.assign(centres.T)
    return logits


def distance_head(phi: Tensor, centres: np.ndarray) -> Tensor:
    """phi (B, D) -> logits -|phi - mu_k|_2^2 (B, K): Pang et al., arXiv:1905.10626, in the form of their
    code.

    Differences are squared, not expanded into |phi|^2 - 2 phi . mu + C^2: that would lose the digits of a
    small distance. The layer that subtracts the centres multiplies by 1 and adds -mu, as its bias.
    """
    classes, dim = centres.shape
    layer = keras.layers.EinsumDense(
        "bkd,kd->bkd", (classes, dim), bias_axes="kd", trainable=False, dtype="float32", name=CENTRES
    )
    gaps = layer(keras.layers.RepeatVector(classes)(phi))
    layer.set_weights([np.ones_like(centres), -centres])
    return -ops.sum(ops.square(gaps), axis=2)


_HEADS = {dot_head: keras.layers.Dense, distance_head: keras.layers.EinsumDense}


def has_centres(net: keras.Model) -> bool:
    """Whether a net ends in one of these heads."""
    return bool(net.layers) and net.layers[-1].name == CENTRES


def centres_of(net: keras.Model) -> Tensor:
    """(K, D) the centres of a net that ends in one of these heads. Raises InvalidInput for any other."""
    layer = net.layers[-1]
    if not has_centres(net):
        allowed = f"a model that ends in a layer {CENTRES!r}, as mat() and mmc() make"
        raise validate.invalid("model", allowed, layer.name)
    return ops.transpose(layer.kernel.value) if isinstance(layer, keras.layers.Dense) else -layer.bias.value


def replace_head(net: keras.Model, head: Callable[..., Tensor], scale: float, dim: int | None) -> keras.Model:
    """A model of the layers of `net` up to its features, a linear layer of `dim` units, and a head of fixed
    centres, all of them layers of Keras.

    The linear layer carries the name "features": it is what the head, attacks on features and exports see.
    Two layers of one model may not share a name, so what comes before stands inside it as one layer, the
    model "body" of the very layers of `net`. With dim=None the head sits on the features of `net` themselves.

    Args:
        net: a model with features (`keras_adv.features`); what follows them is left out.
        head: `dot_head` or `distance_head`. A net that ends in this one is returned as it is.
        scale: length of the centres, above 0.
        dim: D, the width of the linear layer, or None.

    Raises:
        InvalidInput: no features, or dim=None on features that are never negative (a ReLU's): they reach
            only the first centre.
    """
    last = net.layers[-1]
    if last.name == CENTRES and isinstance(last, _HEADS[head]):
        return net
    body, classes = encoder(net, "body"), net.output_shape[-1]
    if dim is None and not _takes_both_signs(body, net.input_shape[1:]):
        why = "this net's features are never negative and reach only the first centre"
        raise validate.invalid("dim", f"the width of a linear layer: {why}", dim)
    inputs = keras.Input(net.input_shape[1:], name="images")
    linear = keras.layers.Identity(name=NAME) if dim is None else keras.layers.Dense(dim, name=NAME)
    phi = linear(body(inputs))
    centres = simplex(classes, phi.shape[-1], scale).astype("float32")
    return keras.Model(inputs, head(phi, centres), name=net.name)


def _takes_both_signs(body: keras.Model, shape: tuple[int, ...]) -> bool:
    images = noise.uniform(noise.seeds(0, np.arange(16, dtype="uint32")), tuple(shape))
    return bool(np.asarray(body(images, training=False)).min() < 0)
