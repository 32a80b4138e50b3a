"""A small net with batch normalisation and its twin in float64, and the terms of a defense with gradients.

The transcriptions compute on the twin: what separates the two sides is then the package's own float32, and
nothing of a common rounding can hide a difference. (The package casts logits and features to float32.)
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SHAPE, CLASSES, WIDTH = (6, 6, 1), 4, 7


def build(dtype, rate=0.0):
    d = {"dtype": dtype}
    inputs = keras.Input(SHAPE, dtype=dtype)
    v = layers.Conv2D(3, 3, use_bias=False, **d)(inputs)
    v = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **d)(v)
    v = layers.Activation("softplus", **d)(v)  # smooth: no kink on which the two precisions could part
    v = layers.Flatten(**d)(layers.Dropout(rate, seed=5, **d)(v))
    v = layers.Activation("tanh", name="features", **d)(layers.Dense(WIDTH, **d)(v))
    return keras.Model(inputs, layers.Dense(CLASSES, **d)(v))


def net(seed=0, rate=0.0):
    """float32, every weight random, statistics unlike the defaults 0 and 1 and unlike those of any batch."""
    model, rng = build("float32", rate), np.random.default_rng(seed)
    for v in model.variables:
        if "moving_mean" in v.path or "beta" in v.path or "bias" in v.path:
            v.assign(rng.normal(size=v.shape, scale=0.3))
        elif "moving_variance" in v.path or "gamma" in v.path:
            v.assign(rng.uniform(0.4, 1.8, v.shape))
        elif "seed" not in v.path:
            v.assign(rng.normal(size=v.shape, scale=1.5 / np.sqrt(np.prod(v.shape[:-1]))))
    return model


def double(model):
    """The twin in float64 of a net of this file."""
    twin = build("float64")
    twin.set_weights(model.get_weights())
    return twin


def part(model):
    """The same layers up to "features"."""
    return keras.Model(model.input, model.get_layer("features").output)


def images(count=9, seed=1):
    """(x float32, y int32, x' float32): x' is near x, and belongs to no attack."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.05, 0.95, (count, *SHAPE)).astype("float32")
    moved = np.clip(x + rng.uniform(-0.3, 0.3, x.shape), 0, 1).astype("float32")
    return x, rng.integers(0, CLASSES, count).astype("int32"), moved


def statistics(model):
    """The moving means and variances of a net, in one vector."""
    return np.concatenate([np.ravel(v.value) for v in model.variables if "moving" in v.path])


def same_statistics(model, twin):
    """Both nets store the same means and variances."""
    np.testing.assert_allclose(statistics(model), statistics(twin), rtol=1e-5, atol=1e-6)


def descend(model, gradients, rate):
    """A step of plain gradient descent."""
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)


def wide(array):
    return np.asarray(array, "float64")


def of_the_package(move, nets, batch):
    """{term: (values, gradients of their mean by the variables the move learns)} of a move's loss."""
    weights = [v.value for name in move.learns for v in nets[name].model.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        terms = move.loss(nets, {name: tf.convert_to_tensor(v) for name, v in batch.items()})
        means = {name: tf.reduce_mean(terms[name]) for name in move.terms}
    return {name: (np.asarray(terms[name]), tape.gradient(means[name], weights)) for name in move.terms}


def check(got, want, tolerance=1e-5):
    """Two pairs (values, gradients) are one: values each, gradients relative to the largest entry of all."""
    np.testing.assert_allclose(got[0], want[0], rtol=tolerance, atol=tolerance)
    pairs = [both for both in zip(got[1], want[1], strict=True) if any(g is not None for g in both)]
    a, b = (np.concatenate([_flat(both[k], both[1 - k]) for both in pairs]) for k in (0, 1))
    assert np.abs(b).max() > 1e-4  # the term does reach the weights
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def _flat(gradient, other):
    return np.zeros(np.size(other)) if gradient is None else np.ravel(gradient)
