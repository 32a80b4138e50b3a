import numpy as np
import pytest

from keras_adv import fit
from keras_adv.attacks import DeepFool
from keras_adv.backend import FrozenNet, compile
from keras_adv.defenses import deepfool_training
from keras_adv.defenses.deepfool_training import DeepFoolTraining
from keras_adv.models import MLP
from keras_adv.threats import L2


@pytest.fixture
def few(linear):
    """Images near the boundaries of the linear model, which takes some of them for another class."""
    x = np.clip(0.5 + 0.2 * np.random.default_rng(4).normal(size=(130, 8, 8, 1)), 0, 1).astype("float32")
    y = np.argmax(linear[0](x), axis=1).astype("int32")
    y[:5] = (y[:5] + 1) % 5
    return x, y


def test_the_set_is_the_clean_images_and_deepfools_with_the_clean_labels(linear, few, monkeypatch):
    net, _, _ = linear
    monkeypatch.setattr(deepfool_training, "BATCH", 50)  # the last batch is not full
    x, y = few
    images, labels = DeepFoolTraining().extend_data(net, x, y)
    assert images.dtype == x.dtype and images.shape == (260, *x.shape[1:])
    np.testing.assert_array_equal(images[:130], x)
    np.testing.assert_array_equal(labels, np.concatenate([y, y]))
    found = images[130:]
    assert found.min() >= 0 and found.max() <= 1
    guess, right = net.predict(found, verbose=0).argmax(1), net.predict(x, verbose=0).argmax(1) == y
    assert right.mean() > 0.9 and (guess[right] != y[right]).all()
    np.testing.assert_array_equal(found[~right], x[~right])


def test_the_set_is_deepfools_whatever_the_batches(linear, few, monkeypatch):
    net, _, _ = linear
    x, y = few[0][:30], few[1][:30]
    defense = DeepFoolTraining(clean=False)
    monkeypatch.setattr(deepfool_training, "BATCH", 20)
    images, labels = defense.extend_data(net, x, y)
    assert len(images) == len(labels) == 30
    at_once = compile(lambda a, b: defense.attack(FrozenNet(net), a, b).images, net)(x, y)
    np.testing.assert_allclose(images, at_once, atol=1e-5)
    np.testing.assert_array_equal(images, defense.extend_data(net, x, y)[0])  # a resumed run's


def test_without_the_box_its_images_leave_it_and_are_trained_on(linear, few):
    """As the papers': on a linear net the box alone makes a difference."""
    net, _, _ = linear
    x, y = few
    free = DeepFoolTraining(attack=DeepFool(threat=L2(box=False), steps=20), clean=False)
    found, labels = free.extend_data(net, x, y)
    assert found.min() < 0 or found.max() > 1
    right = net.predict(x, verbose=0).argmax(1) == y
    assert (net.predict(found[right], verbose=0).argmax(1) != labels[right]).all()
    before = net.get_weights()
    try:
        fit.defend(net, free, x, y, epochs=1, batch_size=26, verbose=0)
        assert any((a != b).any() for a, b in zip(before, net.get_weights(), strict=True))
    finally:
        net.set_weights(before)


@pytest.mark.slow
def test_it_learns_the_images_that_fooled_the_start(digits):
    net = MLP(units=(40,)).build(digits.shape, digits.classes)
    x, y = (part[:700] for part in digits.train)
    fit.defend(net, "standard()", x, y, epochs=15, verbose=0)
    found, y = DeepFoolTraining(clean=False).extend_data(net, x, y)
    assert (net.predict(found, verbose=0).argmax(1) == y).mean() < 0.1
    fit.defend(net, DeepFoolTraining(), x, y, epochs=10, batch_size=50, verbose=0)
    assert (net.predict(found, verbose=0).argmax(1) == y).mean() > 0.8
    assert (net.predict(digits.test[0], verbose=0).argmax(1) == digits.test[1]).mean() > 0.9
