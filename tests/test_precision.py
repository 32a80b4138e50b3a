"""What a net computes in while it is trained, and what it computes in afterwards."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, defend, precision
from keras_adv.backend import Net

L = keras.layers
SHAPE, CLASSES = (8, 8, 1), 3
RNG = np.random.default_rng(0)
X, Y = RNG.random((32, *SHAPE)).astype("float32"), (np.arange(32) % CLASSES).astype("int32")
HALF = ("mixed_bfloat16", "mixed_float16")


@pytest.fixture
def net():
    keras.utils.set_random_seed(0)
    layers = [L.Conv2D(8, 3, use_bias=False), L.BatchNormalization(), L.ReLU(), L.Flatten(name="features")]
    return keras.Sequential([keras.Input(SHAPE), *layers, L.Dense(CLASSES)])


@pytest.mark.parametrize("name", HALF)
def test_layers_compute_in_half_precision_within_the_context_only(net, name):
    before = np.asarray(net(X))
    with precision.computing_in(net, name):
        inside = np.asarray(Net(net).logits(X))
        features = keras.Model(net.inputs, net.get_layer("features").output)(X)
        assert keras.backend.standardize_dtype(features.dtype) == name.removeprefix("mixed_")
        assert keras.backend.standardize_dtype(net(X).dtype) == "float32"  # logits keep their digits
        assert {str(v.dtype) for v in net.trainable_variables} == {"float32"}
    assert 0 < np.abs(inside - before).max() < 0.1 * np.abs(before).max()
    np.testing.assert_array_equal(net(X), before)
    assert {n.compute_dtype for n in net._flatten_layers()} == {"float32"}


def test_auto_is_one_of_the_others():
    assert precision.fitting("auto") in ("float32", "mixed_bfloat16")
    assert precision.fitting("mixed_float16") == "mixed_float16"


@pytest.mark.parametrize("name", [pytest.param(HALF[0], marks=pytest.mark.slow), *HALF[1:]])
def test_training_in_half_precision_learns_and_serves_float32(net, name):
    options = {"epochs": 4, "batch_size": 16, "verbose": 0}
    losses = keras.callbacks.History()
    optimizer = "sgd(learning_rate=0.05)"
    served = defend(
        net, f"standard(optimizer={optimizer})", X, Y, precision=name, callbacks=[losses], **options
    )
    assert losses.history["cross_entropy"][-1] < losses.history["cross_entropy"][0]
    assert all(np.isfinite(w).all() for w in served.get_weights())
    assert served.compute_dtype == "float32" and {n.compute_dtype for n in served.layers} == {"float32"}
    np.testing.assert_allclose(served.predict(X, verbose=0), served(X), atol=1e-5)


def test_an_unknown_precision_is_refused(net):
    with pytest.raises(InvalidInput, match="`precision` must be"):
        defend(net, "standard", X, Y, epochs=1, precision="bfloat16")
