"""DDN: targets, rounding, flat models, and Foolbox. Its optimum: `test_linear_optimum.py`."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry


@pytest.mark.slow
def test_reaches_a_given_class(linear, grey):
    x, y = grey
    aim = (y + 1) % 5
    result = attack(linear[0], x, y, "ddn(steps=60)", targets=aim)
    assert result.success.all()
    np.testing.assert_array_equal(linear[0].predict(result.images, verbose=0).argmax(1), aim)


def test_levels_round_the_images(net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]
    result = attack(net, x, y, "ddn(steps=40, levels=17)")  # digits come in 17 levels
    np.testing.assert_allclose(result.images * 16, np.round(result.images * 16), atol=1e-5)
    assert result.success.mean() > 0.9


def test_a_flat_model_is_left_in_a_random_direction():
    def logits(v):  # no gradient within 0.5 of x in the mean
        far = ops.sum(ops.square(ops.reshape(v - 0.5, (-1, 16))), axis=1) > 1.0
        z = ops.cast(far, "float32") + 0.0 * ops.sum(v, axis=(1, 2, 3))
        return ops.stack([0.5 + 0.0 * z, z], axis=1)

    found = registry.parse("attack", "ddn(steps=40)")(
        logits, np.full((4, 4, 4, 1), 0.5, "float32"), np.zeros(4)
    )
    assert np.asarray(found.success).all() and (np.asarray(found.distance) < 1.2).all()


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
def test_norms_are_those_of_foolbox(net, digits):
    fb = pytest.importorskip("foolbox")
    import tensorflow as tf

    x, y = digits.test[0][:100], digits.test[1][:100]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    model = fb.TensorFlowModel(net, bounds=(0, 1))
    _, found, hit = fb.attacks.DDNAttack(steps=60)(
        model, tf.constant(x), tf.constant(y, "int64"), epsilons=None
    )
    assert np.asarray(hit).all()
    theirs = np.linalg.norm((np.asarray(found) - x).reshape(len(x), -1), axis=1)
    assert attack(net, x, y, "ddn(steps=60)").distance.mean() <= 1.01 * theirs.mean()
