"""Boundary attack: decisions are all it sees; Foolbox as oracle. Its optimum: `test_linear_optimum.py`."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.first_mistake import direction
from keras_adv.backend import Net


def test_directions_are_independent_of_mean_zero_and_length_about_one():
    drawn = np.asarray(direction(ops.arange(1000, dtype="uint32"), 50))
    assert np.abs(drawn.mean(0)).max() < 0.02
    np.testing.assert_allclose(1000 / 50 * np.eye(50), drawn.T @ drawn, atol=3)
    np.testing.assert_allclose(np.square(drawn).sum(1).mean(), 1.0, rtol=0.02)


def test_sees_decisions_only(net, images):
    x, y = (part[:8] for part in images)
    logits = Net(net, frozen=True).logits
    one = registry.parse("attack", "boundary(steps=60)")
    first = one(logits, x, y)
    second = one(lambda v: ops.one_hot(ops.argmax(logits(v), axis=1), 10), x, y)
    np.testing.assert_array_equal(first.images, second.images)


@pytest.mark.slow
def test_gives_up_where_no_noise_is_a_mistake():
    x, y = np.full((4, 8, 8, 1), 0.5, "float32"), np.zeros(4, "int32")

    def logits(v):
        return ops.stack([1.0 + 0.0 * ops.sum(v, axis=(1, 2, 3)), ops.zeros_like(v[:, 0, 0, 0])], axis=1)

    found = registry.parse("attack", "boundary()")(logits, x, y)
    assert not np.asarray(found.success).any()
    assert (np.asarray(found.rounds) == 1000).all()
    np.testing.assert_array_equal(found.images, x)


@pytest.mark.slow
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
