"""Batch normalisation in one kernel is Keras' own: outputs, what is stored, gradients of both orders."""

import keras
import numpy as np
import pytest

from keras_adv.backend import Net, normalisation
from keras_adv.backend.normalisation import fused_normalisations

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="TensorFlow's kernel")


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Its numbers hold on any CPU; only its speed needs AVX-512."""
    monkeypatch.setattr(normalisation, "AVAILABLE", normalisation.POSSIBLE)


def made(**options):
    """A layer of four channels with weights and statistics of its own."""
    layer = keras.layers.BatchNormalization(**options)
    layer.build((None, 6, 5, 4))
    rng = np.random.default_rng(1)
    for v in layer.variables:
        if v.dtype == "float32":
            v.assign(rng.uniform(0.5, 1.5, v.shape))
    return layer


def orders(layer, x, aim, training):
    """Outputs, what is stored after them, the gradients by images and weights, and those of the square of the
    image gradient; of the layer as it is at first."""
    before = [v.numpy() for v in layer.variables]
    x = tf.constant(x)
    weights = [v.value for v in layer.trainable_variables]
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            out = layer(x, training=training)
            loss = tf.reduce_sum(aim * tf.sin(tf.cast(out, "float32")))
        slopes = inner.gradient(loss, [x, *weights])
        second = tf.reduce_sum(slopes[0] ** 2)
    stored = [v.numpy() for v in layer.non_trainable_variables]
    curved = outer.gradient(second, [x, *weights], unconnected_gradients="zero")
    for v, value in zip(layer.variables, before, strict=True):
        v.assign(value)
    return [out, *stored, *slopes, *curved]


LAYERS = [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1, "momentum": 0.5}]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_it_is_keras_own_to_second_order(options, training):
    rng = np.random.default_rng(0)
    x, aim = rng.standard_normal((2, 7, 6, 5, 4)).astype("float32") * 2 + 1
    layer = made(**options)
    want = orders(layer, x, aim, training)
    with fused_normalisations([layer]):
        assert "call" in vars(layer)
        have = orders(layer, x, aim, training)
    assert "call" not in vars(layer)
    for a, b in zip(have, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


@pytest.mark.parametrize("training", [True, False])
def test_in_bfloat16_statistics_are_float32_and_gradients_keras_own_to_its_rounding(training):
    rng = np.random.default_rng(0)
    x, aim = rng.standard_normal((2, 16, 6, 5, 4)).astype("float32")
    layer = made(dtype="mixed_bfloat16")
    want = orders(layer, x, aim, training)
    with fused_normalisations([layer]):
        have = orders(layer, x, aim, training)
    assert have[0].dtype == "bfloat16"
    for a, b in zip(have[1:3], want[1:3], strict=True):  # stored: both of the same rounded images
        np.testing.assert_allclose(a, b, rtol=1e-2 if training else 0)
    for a, b in zip(have[:1] + have[3:], want[:1] + want[3:], strict=True):
        a, b = (np.asarray(tf.cast(v, "float32")) for v in (a, b))
        assert np.linalg.norm(a - b) <= 0.03 * np.linalg.norm(b)


def vector():
    layer = keras.layers.BatchNormalization()
    layer.build((None, 4))
    return layer


class Other(keras.layers.BatchNormalization):
    """Somebody's own."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask) * 2


def other():
    layer = Other()
    layer.build((None, 6, 5, 4))
    return layer


KEPT = {
    "vector": vector,
    "channels first": lambda: made(axis=1),
    "renorm": lambda: made(renorm=True),
    "synchronized": lambda: made(synchronized=True),
    "float16": lambda: made(dtype="mixed_float16"),
    "somebody's own": other,
    "not built": keras.layers.BatchNormalization,
}


@pytest.mark.parametrize("make", KEPT.values(), ids=KEPT)
def test_what_it_does_not_hold_for_stays_keras_own(make):
    layer = make()
    with fused_normalisations([layer]):
        assert "call" not in vars(layer)


def test_a_pass_through_a_net_uses_it_and_leaves_the_model_as_it_was(monkeypatch):
    inputs = keras.Input((6, 5, 4))
    layer = keras.layers.BatchNormalization()
    model = keras.Model(inputs, keras.layers.Flatten()(layer(inputs)))
    used, real = [], normalisation._call
    monkeypatch.setattr(normalisation, "_call", lambda *a, **k: used.append(1) or real(*a, **k))
    x = np.random.default_rng(0).random((8, 6, 5, 4), "float32")
    quick = Net(model)(x, mode="training")
    stored = [v.numpy() for v in layer.non_trainable_variables]
    assert used == [1] and "call" not in vars(layer)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(stored[0], 0.01 * mean, rtol=1e-5)
    np.testing.assert_allclose(stored[1], 0.99 + 0.01 * variance, rtol=1e-5)
    np.testing.assert_allclose(quick, ((x - mean) / np.sqrt(variance + 1e-3)).reshape(8, -1), atol=1e-4)
    np.testing.assert_array_equal(Net(model)(x, mode="stored"), model(x))
