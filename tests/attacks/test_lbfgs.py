"""The attack with L-BFGS: a target, Carlini & Wagner beside it, how it changes its weights."""

import numpy as np
import pytest
from closed_forms import only_two_classes, to_the_boundary
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.penalty.lbfgs import reweigh
from keras_adv.numerics import quasi_newton


@pytest.mark.slow
def test_reaches_a_target_of_two_classes_at_the_optimum(linear, grey):
    x, one = grey[0][:12], registry.parse("attack", "lbfgs(searches=10)")
    with only_two_classes(linear) as (model, w, b):
        y = model.predict(x, verbose=0).argmax(1).astype("int32")
        best = to_the_boundary((model, w, b), x, one.threat)
        found = one(model, x, y, targets=1 - y)
    distance = np.asarray(found.distance)
    assert np.asarray(found.success).all() and (distance >= 0.999 * best).all()
    assert distance.mean() <= 1.02 * best.mean()


@pytest.mark.slow
def test_is_near_carlini_wagner_on_a_net(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    ours = attack(net, x, y, "lbfgs(steps=30, initial=0.1, searches=5)")
    theirs = attack(net, x, y, "carlini_wagner(searches=5, steps=60, initial=0.1, lr=0.03)")
    assert ours.success.all()
    assert ours.distance[ours.clean].mean() <= 1.15 * theirs.distance[ours.clean].mean()
    assert ours.passes.max() <= 5 * 30 + 1


def test_reweighted_state_is_that_of_the_reweighted_function():
    rng = np.random.default_rng(0)
    x, at = (ops.convert_to_tensor(rng.uniform(size=(3, 4)).astype("float32")) for _ in range(2))
    pull = np.array([0.5, 2.0, 8.0], "float32")  # 1 / c

    def state(pull):
        r, weight = at - x, ops.convert_to_tensor(pull)[:, None]
        start = quasi_newton.begin(ops.reshape(x, (3, 2, 2, 1)))
        # a quadratic of curvature 2 pull, its bottom at x: value, slope and the pair of a step of length 1
        s = ops.ones_like(start["s"]) / 2.0
        value = ops.sum(ops.square(r), axis=1) * ops.convert_to_tensor(pull)
        return {
            **start,
            "at": at,
            "value": value,
            "g": 2.0 * weight * r,
            "s": s,
            "y": 2.0 * weight[:, None] * s,
        }

    moved = reweigh(state(pull), at - x, ops.convert_to_tensor(3.0 * pull))
    for name, wanted in state(4.0 * pull).items():
        np.testing.assert_allclose(np.asarray(moved[name]), np.asarray(wanted), rtol=1e-5)
