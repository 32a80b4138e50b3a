"""The heads of fixed centres, and how a net gets one."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput
from keras_adv.layers import centres_of, distance_head, dot_head, replace_head
from keras_adv.models import MLP, LeNet
from keras_adv.numerics.simplex import simplex

HEADS = [dot_head, distance_head]


@pytest.fixture
def small(digits):
    return MLP(units=(24,)).build(digits.shape, digits.classes)


@pytest.mark.parametrize("head", HEADS)
def test_what_a_head_cannot_be_is_refused(head, small):
    with pytest.raises(InvalidInput, match="`scale`"):
        replace_head(small, head, -1.0, 4)
    with pytest.raises(InvalidInput, match="ends in a layer 'centres'"):
        centres_of(small)


@pytest.mark.parametrize("head", HEADS)
def test_logits_by_hand(head):
    phi, mu = np.random.default_rng(0).normal(size=(7, 12)).astype("float32"), simplex(5, 12, 3.0)
    inputs = keras.Input((12,))
    net = keras.Model(inputs, head(inputs, mu.astype("float32")))
    want = phi @ mu.T if head is dot_head else -((phi[:, None] - mu[None]) ** 2).sum(2)
    np.testing.assert_allclose(net(phi), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(centres_of(net), mu, atol=1e-6)


# nothing of this package is imported where the model is loaded
LOAD = """
import sys
import keras, numpy as np
x = np.load(sys.argv[1])
for file in sys.argv[2:]:
    np.save(file + ".npy", keras.models.load_model(file, compile=False).predict(x, verbose=0))
assert "keras_adv" not in sys.modules
"""


@pytest.mark.slow
def test_a_net_with_a_new_head_saves_and_loads_with_keras_alone_and_its_centres_do_not_learn(
    small, digits, tmp_path
):
    x = digits.test[0][:20]
    np.save(tmp_path / "x.npy", x)
    want = {}
    for head in HEADS:
        model = replace_head(small, head, 2.0, 4)  # fewer dimensions than a simplex needs
        assert not any("centres" in v.path for v in model.trainable_variables)
        held = np.asarray(centres_of(model))[::-1]  # kept, not computed again
        weights = [held.T] if head is dot_head else [np.ones_like(held), -held]
        model.get_layer("centres").set_weights(weights)
        file = tmp_path / f"{head.__name__}.keras"
        model.save(file)
        want[str(file)] = np.asarray(model(x))
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path / "x.npy"), *want], check=True, cwd=tmp_path)
    for file, logits in want.items():
        np.testing.assert_allclose(np.load(f"{file}.npy"), logits, atol=1e-5)


def test_a_new_head_keeps_the_layers_and_names_the_linear_one_features(small, digits):
    model = replace_head(small, dot_head, 1.0, 16)
    assert model.get_layer("features").output.shape == (None, 16)
    assert replace_head(model, dot_head, 1.0, 8) is model
    before = np.asarray(model(digits.test[0][:5]))
    small.get_layer("features").kernel.assign(small.get_layer("features").kernel * 2.0)
    assert np.abs(np.asarray(model(digits.test[0][:5])) - before).max() > 1e-3
    held = {id(v) for v in model.trainable_variables}
    own = [v for v in small.trainable_variables if "logits" not in v.path]
    assert len(held) == len(own) + 2 and all(id(v) in held for v in own)


def test_a_head_on_a_relu_is_refused_and_on_a_linear_layer_is_not(digits):
    with pytest.raises(InvalidInput, match="`dim` must be the width"):
        replace_head(LeNet().build(digits.shape, 10), dot_head, 1.0, None)
    inputs = keras.Input(digits.shape)
    maps = keras.layers.Conv2D(3, 3, name="features")(inputs)  # features of rank 4
    net = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(maps)))
    assert centres_of(replace_head(net, dot_head, 1.0, None)).shape == (10, 108)


def test_a_net_without_features_is_refused(digits):
    inputs = keras.Input(digits.shape)
    maps = keras.layers.Conv2D(10, 3)(inputs)
    net = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(maps))
    with pytest.raises(InvalidInput, match="named 'features', or a Dense layer"):
        replace_head(net, dot_head, 1.0, 4)
