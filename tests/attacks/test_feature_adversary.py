"""The feature adversary: how near it comes to its guide, when it ends, and what it wants."""

import keras
import numpy as np
import pytest
from closed_forms import task_of
from keras import ops

from keras_adv import InvalidInput, attack, noise
from keras_adv.attacks import FeatureAdversary
from keras_adv.attacks.task import as_logits
from keras_adv.evaluation import goals


@pytest.fixture(scope="module")
def never():
    """Features 2 x (each pixel); a classifier that answers 0 whatever it sees."""
    inputs = keras.Input((2, 2, 1))
    phi = keras.layers.Lambda(lambda v: 2.0 * v, name="features")(keras.layers.Flatten()(inputs))
    head = keras.layers.Dense(3)
    model = keras.Model(inputs, head(phi))
    head.set_weights([np.zeros((4, 3), "float32"), np.array([1.0, 0.0, 0.0], "float32")])
    return model


def imitate(model, x, guide, eps, y=0):
    task = task_of(model, x, np.full(len(x), y), eps=ops.convert_to_tensor(np.float32(eps)), guide=guide)
    return FeatureAdversary(steps=50).run(task)


def test_goes_to_the_guide_as_far_as_ball_and_box_allow(never):
    rng = np.random.default_rng(0)
    x, guide = (rng.uniform(size=(3, 2, 2, 1)).astype("float32") for _ in range(2))
    eps = np.array([0.05, 0.2, 1.0])
    found = imitate(never, x, guide, eps)
    room = eps.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(np.asarray(found.images), np.clip(guide, x - room, x + room), atol=2e-3)
    assert not np.asarray(found.success).any()


@pytest.mark.slow
def test_ends_at_the_first_mistake(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    whole = attack(net, x, y, "feature_adversary(threat=linf(eps=0.2), steps=30)")
    won = whole.clean & whole.success
    last = int(whole.passes[won].min()) - 2  # so few steps that only the first to be fooled are
    less = attack(net, x, y, f"feature_adversary(threat=linf(eps=0.2), steps={last})")
    # one pass is for the guides; of the image after the last step the judge tells
    np.testing.assert_array_equal(less.success[won], whole.passes[won] - 1 <= last + 1)
    both = won & less.success
    assert both.any() and not both[won].all()
    np.testing.assert_allclose(less.images[both], whole.images[both], atol=1e-6)


def test_wants_a_guide_and_features(net, digits):
    x, y = digits.test[0][:4], digits.test[1][:4]
    with pytest.raises(InvalidInput, match="guide"):
        FeatureAdversary()(net, x, y)
    with pytest.raises(InvalidInput, match="features"):
        FeatureAdversary().run(task_of(lambda v: v, x, y, eps=np.ones(4, "float32"), guide=x))


def test_comes_nearer_to_the_features_of_its_guide(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    one = FeatureAdversary(steps=40).replace(threat=FeatureAdversary().threat.replace(eps=0.05))
    result = attack(net, x, y, one, seed=5)
    seeds = np.asarray(noise.seeds(5, np.arange(24, dtype="uint32")))
    guide = x[goals.guides(y, seeds, None)]
    view = as_logits(net)
    gap = [
        ((np.asarray(view.features(v)) - np.asarray(view.features(guide))) ** 2).sum(1)
        for v in (x, result.images)
    ]
    held = result.clean & ~result.success
    assert held.any() and (gap[1] < gap[0])[held].all()


@pytest.mark.slow
def test_target(net, digits):
    x, y = digits.test[0][:48], digits.test[1][:48]
    result = attack(net, x, y, "feature_adversary(threat=linf(eps=0.4), steps=40)", targets="next")
    wanted = net.predict(result.images, verbose=0).argmax(1) == (y + 1) % 10
    np.testing.assert_array_equal(wanted[result.clean], result.success[result.clean])
    assert result.success[result.clean].mean() > 0.5
