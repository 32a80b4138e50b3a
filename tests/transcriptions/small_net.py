"""One small net twice: in float32 for the package, in float64 for the transcriptions, with the same weights.

The package computes logits in float32 whatever a net computes in. In float64 the transcription adds no
rounding of its own, so what is left between the two is the package's.
"""

import keras
import numpy as np
import tensorflow as tf

CLASSES = 3
SHAPE = (5, 5, 2)
RTOL = 2e-5
"""Float32 rounds to 6e-8, and each number here is a sum of some hundreds of products."""


def build(dtype):
    """Two batch normalisations, and second derivatives that are not 0 almost everywhere.

    Its dropout has the rate 0: which units a pass drops is not the losses' business, and none is a mode's
    mistake.
    """
    kept = {"dtype": dtype}
    inputs = keras.Input(SHAPE, **kept)
    h = keras.layers.Conv2D(4, 3, name="conv", **kept)(inputs)
    h = keras.layers.BatchNormalization(name="norm", **kept)(h)
    h = keras.layers.Activation("softplus", name="bend", **kept)(h)
    h = keras.layers.Dropout(0.0, name="drop", **kept)(h)
    h = keras.layers.Conv2D(3, 2, name="conv_1", **kept)(h)
    h = keras.layers.Flatten(name="flat", **kept)(h)
    h = keras.layers.Dense(4, name="dense", **kept)(h)
    h = keras.layers.BatchNormalization(name="norm_1", **kept)(h)
    h = keras.layers.Activation("softplus", name="features", **kept)(h)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="dense_1", **kept)(h))


def twins(seed):
    """(the net in float32, the same in float64); no weight and no stored statistic has its default value."""
    rng = np.random.default_rng(seed)
    single, double = build("float32"), build("float64")
    stored = [v for v in single.variables if not v.path.endswith("seed_generator_state")]
    for variable in stored:
        drawn = rng.normal(0, 0.5, variable.shape)
        if variable.name in ("gamma", "moving_variance"):
            drawn = rng.uniform(0.5, 2.0, variable.shape)
        variable.assign(drawn.astype("float32"))
    names = {weight.path: weight for weight in double.variables}
    for variable in stored:
        names[variable.path].assign(variable.numpy())
    return single, double


def images(seed, number):
    """Images whose float32 values are exact, for both nets."""
    return np.random.default_rng(seed).uniform(0, 1, (number, *SHAPE)).astype("float32")


def package_values_and_gradients(loss, model, terms):
    """The package's terms of each image, and the gradients of their means by the net's trainable weights."""
    weights = [v.value for v in model.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        found = loss()
        means = {name: tf.reduce_mean(found[name]) for name in terms}
    values = {name: np.array(found[name].numpy()) for name in terms}
    zero = tf.UnconnectedGradients.ZERO
    gradients = {
        name: [g.numpy().copy() for g in tape.gradient(means[name], weights, unconnected_gradients=zero)]
        for name in terms
    }
    return values, gradients


def assert_same_gradients(got, want, model, rtol=RTOL):
    """Weight by weight, to `rtol` of the largest entry of all: what cancels to 0 has no digits of its own."""
    largest = max(np.abs(one).max() for one in want)
    for variable, one, other in zip(model.trainable_variables, got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * largest, err_msg=variable.path)
