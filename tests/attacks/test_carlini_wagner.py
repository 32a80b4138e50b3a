"""Carlini & Wagner: its search for c, targets, confidence, and Foolbox.

The optima of linear models are asked of it in `test_linear_optimum.py`.
"""

import keras
import numpy as np
import pytest
from closed_forms import task_of
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks import CarliniWagner

GREY = np.full((2, 4, 4, 1), 0.5, "float32")


def two(v):
    """Two classes; the margin of class 1 is the sum of 16 pixels less 11.2: 0.8 away from grey in l2."""
    z = ops.sum(v, axis=(1, 2, 3)) - 11.2
    return ops.stack([-z / 2, z / 2], axis=1)


def constant(v):
    return 0.0 * ops.stack([ops.sum(v, axis=(1, 2, 3))] * 2, axis=1) + np.float32([[1.0, 0.0]])


@pytest.mark.slow
def test_targets_and_confidence(linear, grey):
    model, _, _ = linear
    x, y = grey
    target = (y + 1) % 5
    result = attack(
        model, x, y, "carlini_wagner(steps=150, initial=0.1, searches=6, confidence=1.0)", targets=target
    )
    z = model.predict(result.images, verbose=0)
    rest = np.where(np.arange(5) == target[:, None], -np.inf, z).max(1)
    assert result.success.all()
    assert (z[np.arange(len(x)), target] - rest >= 1.0 - 1e-3).all()


def run(spec, logits, x, rounds):
    one = registry.parse("attack", spec)
    task = task_of(logits, x)
    return one.advance(task, one.begin(task), rounds)


def test_c_grows_tenfold_until_it_works_then_halves_the_gap():
    # the minimum of |r|^2 + 4 c (0.8 - |r|) is at |r| = 0.8 from c = 0.4 on; Adam swings a little farther
    spec = "carlini_wagner(searches=9, steps=40, initial=0.01, lr=0.05)"
    state = run(spec, two, GREY, 9 * 40)
    low, high = float(state["low"][0]), float(state["high"][0])
    assert 0.1 < low < high < 1 and high - low == pytest.approx(0.9 / 2**6, rel=1e-3)


def test_a_search_without_a_gain_ends_after_a_tenth_of_the_steps():
    state = run("carlini_wagner(searches=2, steps=100)", constant, GREY, 200)
    assert np.asarray(state["done"]).all() and (np.asarray(state["k"]) == 22).all()
    state = run("carlini_wagner(searches=2, steps=100, abort_early=False)", constant, GREY, 300)
    assert (np.asarray(state["k"]) == 200).all()


def test_each_image_keeps_its_own_search():
    # the second image is at the boundary already: its c never grows
    x = np.stack([np.full((4, 4, 1), v, "float32") for v in (0.5, 0.699)])
    state = run("carlini_wagner(searches=4, steps=40, initial=0.1, lr=0.05)", two, x, 160)
    c = np.asarray(state["high"])
    assert c[1] <= 0.1 < c[0]


@pytest.mark.slow
def test_fixed_c_is_one_search_and_the_cap_holds(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    one = CarliniWagner(c=10.0, cap=0.3, steps=60, lr=0.05)
    assert one.rounds == 60
    capped = attack(net, x, y, one)
    assert np.abs(capped.images - x).max() <= 0.3 + 1e-5
    free = attack(net, x, y, one.replace(cap=None))
    assert capped.success.sum() <= free.success.sum() and capped.success[capped.clean].any()


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
def test_not_above_foolbox(net, digits):
    fb = pytest.importorskip("foolbox")
    import tensorflow as tf

    x, y = digits.test[0][:48], digits.test[1][:48]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    budget = {"binary_search_steps": 6, "steps": 100, "initial_const": 0.1, "stepsize": 0.02}
    theirs = fb.attacks.L2CarliniWagnerAttack(**budget)
    _, found, hit = theirs(
        fb.TensorFlowModel(net, bounds=(0, 1)), tf.constant(x), tf.constant(y, "int64"), epsilons=None
    )
    ours = attack(net, x, y, "carlini_wagner(searches=6, steps=100, initial=0.1, lr=0.02)")
    # Foolbox offers a black image where it has found nothing
    both = np.asarray(hit) & ours.success & (np.asarray(found).reshape(len(x), -1).max(1) > 0)
    norm = np.linalg.norm((np.asarray(found) - x).reshape(len(x), -1), axis=1)
    assert both.mean() > 0.9 and ours.distance[both].mean() <= 1.01 * norm[both].mean()
