"""The heads of fixed centres, and how a net gets one."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput
from keras_adv.layers import CentreDistanceHead, MaxMahalanobisHead, replace_head
from keras_adv.models import MLP, LeNet
from keras_adv.numerics.simplex import simplex

HEADS = [MaxMahalanobisHead, CentreDistanceHead]


@pytest.fixture
def small(digits):
    return MLP(units=(24,)).build(digits.shape, digits.classes)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_refuses_what_it_cannot_be(head):
    with pytest.raises(InvalidInput, match="`classes`"):
        head(1)
    with pytest.raises(InvalidInput, match="`scale`"):
        head(3, -1.0)
    with pytest.raises(InvalidInput, match="`features` must be of shape"):
        head(3).build((None, 4, 4))


def test_logits_by_hand():
    phi = np.random.default_rng(0).normal(size=(7, 12)).astype("float32")
    mu = simplex(5, 12, 3.0)
    np.testing.assert_allclose(MaxMahalanobisHead(5, 3.0)(phi), phi @ mu.T, rtol=1e-4, atol=1e-5)
    want = -((phi[:, None] - mu[None]) ** 2).sum(2)
    np.testing.assert_allclose(CentreDistanceHead(5, 3.0)(phi), want, rtol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_net_with_a_new_head_saves_and_loads_and_its_centres_do_not_learn(head, small, digits, tmp_path):
    model = replace_head(small, head(10, 2.0, name="logits"), 4)  # fewer dimensions than a simplex needs
    assert not any("centres" in v.path for v in model.trainable_variables)
    model.layers[-1].centres.assign(np.asarray(model.layers[-1].centres)[::-1])  # kept, not computed again
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_array_equal(loaded(x), model(x))
    assert (loaded.layers[-1].classes, loaded.layers[-1].scale) == (10, 2.0)


def test_a_new_head_keeps_the_layers_and_names_the_linear_one_features(small, digits):
    model = replace_head(small, MaxMahalanobisHead(10), 16)
    assert model.get_layer("features").output.shape == (None, 16)
    assert replace_head(model, MaxMahalanobisHead(10), 8) is model
    before = np.asarray(model(digits.test[0][:5]))
    small.get_layer("features").kernel.assign(small.get_layer("features").kernel * 2.0)
    assert np.abs(np.asarray(model(digits.test[0][:5])) - before).max() > 1e-3
    held = {id(v) for v in model.trainable_variables}
    own = [v for v in small.trainable_variables if "logits" not in v.path]
    assert len(held) == len(own) + 2 and all(id(v) in held for v in own)


def test_a_head_on_a_relu_is_refused_and_on_a_linear_layer_is_not(digits):
    with pytest.raises(InvalidInput, match="`dim` must be the width"):
        replace_head(LeNet().build(digits.shape, 10), MaxMahalanobisHead(10), None)
    inputs = keras.Input(digits.shape)
    maps = keras.layers.Conv2D(3, 3, name="features")(inputs)  # features of rank 4
    net = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(maps)))
    assert replace_head(net, MaxMahalanobisHead(10), None).layers[-1].centres.shape == (10, 108)


def test_a_net_without_features_is_refused(digits):
    inputs = keras.Input(digits.shape)
    net = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    with pytest.raises(InvalidInput, match="named 'features'"):
        replace_head(net, MaxMahalanobisHead(10), 4)
