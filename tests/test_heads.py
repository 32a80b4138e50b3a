"""Centres that lie as far apart as they can, and the heads that hold them."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput
from keras_adv.layers import CentreDistanceHead, MaxMahalanobisHead, replace_head
from keras_adv.models import LeNet
from keras_adv.numerics.simplex import largest_cosine, simplex

HEADS = [MaxMahalanobisHead, CentreDistanceHead]


@pytest.mark.parametrize(
    ("classes", "dim"), [(2, 1), (3, 2), (3, 8), (10, 9), (10, 10), (10, 64), (100, 128)]
)
def test_gram_of_the_simplex(classes, dim):
    centres = simplex(classes, dim, 10.0)
    assert centres.shape == (classes, dim)
    want = 100 * ((1 + 1 / (classes - 1)) * np.eye(classes) - 1 / (classes - 1))
    np.testing.assert_allclose(centres @ centres.T, want, atol=1e-10)


def test_the_simplex_is_that_of_the_released_recipe():
    m = np.zeros((6, 8))
    m[0, 0] = 1
    for k in range(1, 6):
        for j in range(k):
            m[k, j] = -(1 / 5 + m[k] @ m[j]) / m[j, j]
        m[k, k] = np.sqrt(abs(1 - m[k] @ m[k]))
    np.testing.assert_allclose(simplex(6, 8, 3.0), 3 * m, atol=1e-7)


@pytest.mark.parametrize(
    ("classes", "dim", "least"),
    [
        (5, 2, np.cos(2 * np.pi / 5)),  # regular polygons
        (10, 2, np.cos(2 * np.pi / 10)),
        (5, 3, 0.0),  # Rankin: 0 for dim + 2 .. 2 dim points
        (10, 5, 0.0),
        (12, 3, 1 / np.sqrt(5)),  # icosahedron
        (27, 6, 0.25),  # Schlaefli's polytope
    ],
)
def test_too_few_dimensions_are_used_as_well_as_can_be(classes, dim, least):
    centres = simplex(classes, dim, 2.0)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.0, rtol=1e-12)
    assert largest_cosine(centres) == pytest.approx(least, abs=2e-3)
    np.testing.assert_array_equal(centres, simplex(classes, dim, 2.0))


def test_a_caller_cannot_spoil_the_centres_of_the_next():
    simplex(4, 7)[:] = 0.0
    assert largest_cosine(simplex(4, 7)) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 4), "`classes`"),
        ((3, 1), "`dim`"),
        ((3, 0), "`dim`"),
        ((3, 2.5), "`dim`"),
        ((3, 2, 0.0), "`scale`"),
    ],
)
def test_impossible_centres_are_refused(given, message):
    with pytest.raises(InvalidInput, match=message):
        simplex(*given)


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
def test_a_crowned_net_saves_and_loads_and_its_centres_do_not_learn(head, fresh, digits, tmp_path):
    model = replace_head(fresh, head(10, 2.0, name="logits"), 4)  # fewer dimensions than a simplex needs
    assert not any("centres" in v.path for v in model.trainable_variables)
    model.layers[-1].centres.assign(np.asarray(model.layers[-1].centres)[::-1])  # kept, not computed again
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert (loaded.layers[-1].classes, loaded.layers[-1].scale) == (10, 2.0)


def test_crown_keeps_the_layers_and_names_the_linear_one_features(fresh, digits):
    model = replace_head(fresh, MaxMahalanobisHead(10), 16)
    assert model.get_layer("features").output.shape == (None, 16)
    assert replace_head(model, MaxMahalanobisHead(10), 8) is model
    before = model.predict(digits.test[0][:5], verbose=0)
    fresh.get_layer("features").kernel.assign(fresh.get_layer("features").kernel * 2.0)
    assert np.abs(model.predict(digits.test[0][:5], verbose=0) - before).max() > 1e-3
    held = {id(v) for v in model.trainable_variables}
    own = [v for v in fresh.trainable_variables if "logits" not in v.path]
    assert len(held) == len(own) + 2 and all(id(v) in held for v in own)


def test_a_head_on_a_relu_is_refused_and_on_a_linear_layer_is_not(digits):
    with pytest.raises(InvalidInput, match="`dim` must be a width"):
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
