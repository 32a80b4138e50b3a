import keras
import numpy as np
import pytest
from keras import ops

from keras_adv.numerics import quasi_newton
from keras_adv.attacks.penalty.lbfgs import reweigh
from keras_adv.evaluation import attack


@pytest.mark.parametrize("targets", [None, "next"])
def test_reaches_the_optimum_of_a_linear_model_of_two_classes(targets, grey):
    x, _ = grey
    inputs = keras.Input(x.shape[1:])
    head = keras.layers.Dense(2)
    model = keras.Model(inputs, head(keras.layers.Flatten()(inputs)))
    w = np.random.default_rng(5).normal(size=(64, 2)).astype("float32")
    head.set_weights([w, -0.5 * w.sum(0)])
    z = model.predict(x, verbose=0)
    plane = np.abs(z[:, 0] - z[:, 1]) / np.linalg.norm(w[:, 0] - w[:, 1])
    result = attack(model, x, z.argmax(1), "lbfgs(searches=10)", targets=targets)
    assert result.success.all() and (result.distance >= 0.999 * plane).all()
    assert result.distance.mean() <= 1.02 * plane.mean()


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
