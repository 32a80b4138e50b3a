"""Foolbox as the oracle, on the same Keras model and images."""

import keras
import numpy as np
import pytest

from keras_adv import attack, registry
from keras_adv.backend import FrozenNet

fb = pytest.importorskip("foolbox")
pytestmark = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow"
)


@pytest.fixture(scope="module")
def pair(net, digits):
    import tensorflow as tf

    x, y = digits.test[0][:200], digits.test[1][:200]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    return fb.TensorFlowModel(net, bounds=(0, 1)), x, y, tf.constant(x), tf.constant(y, "int64")


def norms(model, attack, x, y, order):
    _, found, hit = attack(model, x, y, epsilons=None)
    delta = np.asarray(found - x).reshape(len(x), -1)
    return np.linalg.norm(delta, order, axis=1)[np.asarray(hit)]


def test_pgd_breaks_as_many(pair, net):
    model, x, y, tx, ty = (pair[0], *(part[:100] for part in pair[1:]))
    # without random starts the two follow the same path
    theirs = fb.attacks.LinfPGD(steps=20, rel_stepsize=1 / 15, random_start=False)
    _, _, hit = theirs(model, tx, ty, epsilons=0.1)
    ours = attack(net, x, y, "pgd(threat=linf(eps=0.1), steps=20, step_size=1/15, random_start=False)")
    assert ours.success.mean() >= np.asarray(hit).mean() - 0.005


def test_dense_l1_pgd_makes_the_same_images(pair, net):
    """Every step taken, as Foolbox does: `perturb` does not stop at a mistake."""
    model, x, y, tx, ty = (pair[0], *(part[:40] for part in pair[1:]))
    theirs = fb.attacks.L1ProjectedGradientDescentAttack(steps=10, rel_stepsize=0.25, random_start=False)
    # its cross-entropy, whose gradient for certain images is rounding; ours gives a direction there too
    spec = (
        "pgd(threat=l1(eps=4, dense=True), steps=10, step_size=0.25, random_start=False, "
        "loss='softmax_cross_entropy')"
    )
    ours = registry.parse("attack", spec).perturb(FrozenNet(net), tx, y, np.arange(40, dtype="uint32"))
    made = np.asarray(theirs.run(model, tx, fb.criteria.Misclassification(ty), epsilon=4.0))
    np.testing.assert_allclose(ours, made, atol=1e-4)
    assert np.abs(made - x).sum((1, 2, 3)).max() > 3.0
    sparse = attack(net, x, y, spec.replace(", dense=True", "")).success.mean()
    assert sparse > attack(net, x, y, spec).success.mean() + 0.1


@pytest.mark.slow
def test_pdgd_is_not_above_the_best_of_deepfool_ddn_and_carlini_wagner(pair, net):
    model, x, y, tx, ty = pair
    a = fb.attacks
    theirs = [
        a.L2DeepFoolAttack(),
        a.DDNAttack(steps=200),
        a.L2CarliniWagnerAttack(binary_search_steps=6, steps=300),
    ]
    best = min(norms(model, one, tx, ty, 2).mean() for one in theirs)
    assert attack(net, x, y, "pdgd()").distance.mean() <= 1.01 * best


@pytest.mark.slow
def test_pdpgd_and_our_deepfool_are_below_deepfool(pair, net):
    model, x, y, tx, ty = pair
    theirs = norms(model, fb.attacks.LinfDeepFoolAttack(), tx, ty, np.inf).mean()
    assert attack(net, x, y, "pdpgd()").distance.mean() < theirs
    assert attack(net, x, y, "deepfool(threat=linf())").distance.mean() <= 1.01 * theirs
