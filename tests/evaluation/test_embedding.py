"""The features of models, clean and attacked."""

import json

import keras
import numpy as np
import pytest
from matplotlib import image
from scipy.special import softmax

from keras_adv import InvalidInput, zoo
from keras_adv.evaluation import embed
from keras_adv.evaluation.tables import embedding_table
from keras_adv.layers import dot_head, replace_head

PGD = "pgd(threat=linf(eps=0.1), steps=5)"


@pytest.fixture(scope="module")
def images(digits):
    return digits.test[0][:64], digits.test[1][:64]


@pytest.fixture(scope="module")
def standard(net, images):
    return embed(net, *images, [PGD, "ddn(steps=15)"])


def test_a_linear_net_has_the_features_and_slopes_of_its_formulas(linear, grey):
    model, w, b = linear
    x, y = grey
    found = embed(model, x, y, "fgsm(threat=linf(eps=0.05))")
    rows = x.reshape(len(x), -1)
    np.testing.assert_array_equal(found.clean.features, rows)
    p = softmax(rows @ w + b, axis=1)
    by_logits = p[:, :, None] * (np.eye(5) - p[:, None, :])  # (N, K, K) softmax by logits
    np.testing.assert_allclose(found.slopes, np.linalg.norm(by_logits @ w.T, axis=2), rtol=1e-3, atol=1e-6)
    # the features are the image: FGSM moves each by eps, away from y
    uphill = np.sign((p - np.eye(5)[y]) @ w.T)
    np.testing.assert_allclose(found.attacks[0].features, rows + 0.05 * uphill, atol=1e-5)
    wanted = 0.05 * np.sqrt(64) / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(found.sensitivity(found.attacks[0]), wanted, rtol=1e-4)


def test_a_bounded_attack_goes_on_where_an_evaluation_would_stop(linear, grey):
    model, x, y = linear[0], *grey
    spec = "pgd(threat=linf(eps=0.2), steps=8, step_size=0.25, random_start=False)"
    found = embed(model, x, y, spec)
    moved = np.abs(found.attacks[0].features - found.clean.features)
    assert found.summary()["attacks"][0]["accuracy"] == 0
    assert (moved.max(1) > 0.199).all()  # the margin is linear: the end is in a corner of the ball


def test_only_images_for_which_a_minimal_attack_found_a_mistake_count(net, images, standard):
    ddn = standard.attacks[1]
    right = standard.clean.predicted == images[1]
    assert set(ddn.rows) <= set(np.flatnonzero(right)) and len(ddn.rows) > 50
    assert (ddn.predicted != images[1][ddn.rows]).all()
    assert not np.diag(standard.confusion(ddn)).any() and standard.confusion(ddn).sum() == len(ddn.rows)


def test_results_do_not_depend_on_the_batches(net, images, standard):
    other = embed(net, *images, PGD, batch_size=17)
    np.testing.assert_allclose(other.clean.features, standard.clean.features, atol=1e-4)
    np.testing.assert_allclose(other.slopes, standard.slopes, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(other.attacks[0].features, standard.attacks[0].features, atol=1e-2)


def test_the_summary_has_the_promised_form(standard):
    found = standard.summary()
    assert found == json.loads(json.dumps(found, allow_nan=False))
    pgd, ddn = found["attacks"]
    assert found["n"] == pgd["n"] == 64 and "angle" not in pgd and 0 < ddn["angle"][0] < np.pi / 2
    assert found["centres"] == "means" and np.shape(found["gradient_landscape"]) == (10, 10)
    assert pgd["bound"]["bound"] > 1 - pgd["accuracy"]  # true, and says nothing
    assert embedding_table(found).row_count > 10


def test_training_against_attacks_keeps_features_where_they_are(images, standard):
    """The shape of AFD's fig. 4 and MAT's table 1, on digits."""
    robust = embed(zoo.load("critic_lenet_digits"), *images, PGD).summary()["attacks"][0]
    plain = standard.summary()["attacks"][0]
    assert robust["accuracy"] > plain["accuracy"] and robust["match_rate"] > plain["match_rate"]
    assert robust["sensitivity"][0] < plain["sensitivity"][0]


def test_pictures_are_drawn(standard, tmp_path):
    paths = standard.pictures(tmp_path / "new")
    assert [path.name for path in paths] == ["tsne.png", "pca.png", "classes.png", "stability.png"]
    for path in paths:
        pixels = image.imread(path)
        assert pixels.shape[0] > 400 and pixels.shape[1] > 900 and pixels.std() > 0.05


def test_a_net_with_fixed_centres_is_measured_by_them(fresh, images):
    model = replace_head(fresh, dot_head, scale=10.0, dim=12)
    found = embed(model, *images, "fgsm(threat=linf(eps=0.1))")
    summary = found.summary()
    assert summary["centres"] == "fixed" and found.centres.shape == (10, 12)
    np.testing.assert_allclose(np.linalg.norm(found.centres, axis=1), 10.0, rtol=1e-5)
    # the predicted class is that of the nearest centre
    assert summary["clean"]["cosine_predicted"][0] >= summary["clean"]["cosine_own"][0]


def test_many_classes_and_few_images_are_drawn_too(images, tmp_path):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    hidden = keras.layers.Dense(6, "relu")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(30)(hidden))
    found = embed(model, images[0][:3], images[1][:3], "fgsm(threat=linf(eps=0.1))")
    json.dumps(found.summary(), allow_nan=False)
    assert all(image.imread(path).std() > 0 for path in found.pictures(tmp_path))


class Noise(keras.layers.Layer):
    """Draws anew in each call."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), 0.0, 0.2, seed=self.seeds)


def without_features():
    inputs = keras.Input((8, 8, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(10, 3)(inputs))
    return keras.Model(inputs, pooled)


def random_net():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(Noise()(inputs))))


@pytest.mark.parametrize(
    ("make", "attacks", "words"),
    [
        (without_features, PGD, "`model` must be a model with a layer named 'features'"),
        (random_net, PGD, "`model` must be one that answers the same"),
        (None, [], "`attacks` must be one attack at least"),
        (None, 3, "`attacks` must be attacks"),
        (None, "pdg", "Did you mean"),
        (None, "ddn(steps=1)", "`attacks` must be attacks that find"),
    ],
)
def test_what_cannot_be_measured_is_said_before(make, attacks, words, net, images):
    x, y = (part[:4] for part in images)
    with pytest.raises(InvalidInput, match=words):
        embed(make() if make else net, x, y, attacks)
