"""EAD: one step, its learning rate, what its rules keep, targets, and Foolbox."""

import keras
import numpy as np
import pytest
from closed_forms import task_of
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks import EAD


def one_step(beta, gradient):
    one = EAD(beta=beta)
    x = np.full((1, 2, 2, 1), 0.5, "float32")
    task = task_of(lambda v: v, x)
    state = {**one.start(task), "k": ops.zeros(1, "int32")}
    g = ops.convert_to_tensor(np.reshape(gradient, (1, 2, 2, 1)).astype("float32"))
    return np.asarray(one.descend(task, state, task.x, g)["r"]).ravel()


def test_a_step_is_thresholded_by_beta_itself():
    # lr 0.01: steps of 0.3, 0.02, 0.005, and one out of the box
    np.testing.assert_allclose(one_step(0.01, [-30.0, 2.0, -0.5, 90.0]), [0.29, -0.01, 0.0, -0.5], atol=1e-6)


def test_the_learning_rate_falls_with_each_images_own_step(grey):
    x, _ = grey
    one = EAD(steps=100, beta=1e-6)
    task = task_of(lambda v: v, x[:2])
    state = {**one.start(task), "t": ops.convert_to_tensor([0, 75])}
    moved = np.asarray(one.descend(task, state, task.x, ops.ones_like(task.x))["r"])
    np.testing.assert_allclose([moved[0].mean(), moved[1].mean()], [-0.01, -0.005], rtol=1e-3)


@pytest.mark.slow
def test_changes_fewer_pixels_than_the_l2_attack(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    ead, cw = (
        attack(net, x, y, f"{n}, searches=4, steps=60, initial=0.1, lr=0.03)")
        for n in ("ead(beta=0.05", "carlini_wagner(abort_early=True")
    )
    both = ead.success & cw.success & ead.clean
    assert both.mean() > 0.7
    counts = [(np.abs(r.images - x) > 1e-3).sum((1, 2, 3))[both].mean() for r in (ead, cw)]
    assert counts[0] < 0.6 * counts[1]
    l1 = [np.abs(r.images - x).sum((1, 2, 3))[both].mean() for r in (ead, cw)]
    assert l1[0] < l1[1]


@pytest.mark.slow
def test_each_rule_keeps_what_it_measures(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    quick = "ead(beta=0.05, searches=4, steps=60, initial=0.1, lr=0.03, rule='{}')"
    by_l1, elastic = (attack(net, x, y, quick.format(rule)) for rule in ("l1", "elastic"))
    size = registry.parse("attack", "ead(beta=0.05)").size
    both = by_l1.success & elastic.success
    assert (by_l1.distance <= elastic.distance + 1e-4)[both].all()
    assert (np.asarray(size(elastic.images - x)) <= np.asarray(size(by_l1.images - x)) + 1e-4)[both].all()


@pytest.mark.slow
def test_targets(linear, grey):
    model, _, _ = linear
    x, y = grey
    result = attack(model, x, y, "ead(steps=100, initial=0.1, searches=5)", targets="next")
    assert result.success.all()
    np.testing.assert_array_equal(model.predict(result.images, verbose=0).argmax(1), (y + 1) % 5)


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
def test_not_above_foolbox(net, digits):
    fb = pytest.importorskip("foolbox")
    import tensorflow as tf

    x, y = digits.test[0][:48], digits.test[1][:48]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    theirs = fb.attacks.EADAttack(binary_search_steps=6, steps=100, initial_const=0.1, decision_rule="L1")
    _, found, hit = theirs(
        fb.TensorFlowModel(net, bounds=(0, 1)), tf.constant(x), tf.constant(y, "int64"), epsilons=None
    )
    ours = attack(net, x, y, "ead(searches=6, steps=100, initial=0.1, beta=0.01)")
    both = np.asarray(hit) & ours.success & (np.asarray(found).reshape(len(x), -1).max(1) > 0)
    norm = np.abs(np.asarray(found) - x).reshape(len(x), -1).sum(1)
    assert both.mean() > 0.9 and ours.distance[both].mean() <= 1.01 * norm[both].mean()
