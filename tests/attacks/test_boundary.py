"""Boundary attack: decisions are all it sees; closed form of a linear model; Foolbox as oracle."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.boundary import _direction
from keras_adv.backend import Net, compile


def test_directions_are_independent_of_mean_zero_and_length_about_one():
    drawn = np.asarray(_direction(ops.arange(1000, dtype="uint32"), 50))
    assert np.abs(drawn.mean(0)).max() < 0.02
    np.testing.assert_allclose(1000 / 50 * np.eye(50), drawn.T @ drawn, atol=3)
    np.testing.assert_allclose(np.square(drawn).sum(1).mean(), 1.0, rtol=0.02)


def test_sees_decisions_only(net, digits):
    x, y = digits.test[0][:8], digits.test[1][:8]
    logits = Net(net, frozen=True).logits
    one = registry.parse("attack", "boundary(steps=100)")
    first = one(logits, x, y)
    second = one(lambda v: ops.one_hot(ops.argmax(logits(v), axis=1), 10), x, y)
    np.testing.assert_array_equal(first.images, second.images)


def test_comes_near_the_optimum_of_a_linear_model(linear, grey):
    model, w, b = linear
    x, y = grey[0][:16], grey[1][:16]
    z = x.reshape(16, -1) @ w + b
    best = []
    for i in range(16):
        others = [j for j in range(5) if j != y[i]]
        best.append(min((z[i, y[i]] - z[i, j]) / np.linalg.norm(w[:, y[i]] - w[:, j]) for j in others))
    found = attack(model, x, y, "boundary(steps=4000)")
    assert found.success.all()
    assert (found.distance >= np.array(best) * (1 - 1e-3)).all()
    assert np.median(found.distance / best) < 1.03


def test_gives_up_where_no_noise_is_a_mistake():
    x, y = np.full((4, 8, 8, 1), 0.5, "float32"), np.zeros(4, "int32")

    def logits(v):
        return ops.stack([1.0 + 0.0 * ops.sum(v, axis=(1, 2, 3)), ops.zeros_like(v[:, 0, 0, 0])], axis=1)

    one = registry.parse("attack", "boundary()")
    found = compile(lambda *batch: one(logits, *batch))(x, y)
    assert not np.asarray(found.success).any()
    assert (np.asarray(found.steps) == 1000).all()
    np.testing.assert_array_equal(found.images, x)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
def test_is_below_foolbox_at_equal_queries(net, digits):
    fb = pytest.importorskip("foolbox")
    import tensorflow as tf

    x, y = digits.test[0][:40], digits.test[1][:40]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    model = fb.TensorFlowModel(net, bounds=(0, 1))
    _, images, _ = fb.attacks.BoundaryAttack(steps=540)(
        model, tf.constant(x), tf.constant(y, "int64"), epsilons=None
    )
    theirs = np.linalg.norm(np.asarray(images - x).reshape(len(x), -1), axis=1)
    ours = attack(net, x, y, "boundary(steps=600)")
    assert ours.success.all()
    assert ours.distance.mean() <= 1.02 * theirs.mean()
