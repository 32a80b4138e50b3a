"""The attack of Brendel & Bethge: its start, its targets, what it counts, and Foolbox.

The optima of linear models are asked of it in `test_linear_optimum.py`.
"""

import keras
import numpy as np
import pytest
from closed_forms import two_classes

from keras_adv import InvalidInput, attack, registry
from keras_adv.attacks import BrendelBethge
from keras_adv.threats import Linf


@pytest.mark.slow
def test_l0_changes_few_values(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    result = attack(net, x, y, "brendel_bethge(threat=l0(), steps=60)")
    assert result.success.all()
    assert np.mean(result.distance[result.clean]) < 8


@pytest.mark.slow
def test_noise_of_the_images_own_class_climbs_to_a_start(grey):
    # the class changes only in a corner that neither noise nor its blends reach
    x = grey[0][:8]
    w = np.ones(64, "float32")
    found = registry.parse("attack", "brendel_bethge(steps=60)")(
        two_classes(w, 40.0), x, np.zeros(len(x), "int32")
    )
    assert np.asarray(found.success).all()
    gap = 2 * (x - 0.5).reshape(len(x), -1).sum(1) + 40.0
    np.testing.assert_allclose(np.asarray(found.distance), gap / 16, rtol=0.03)


@pytest.mark.slow
def test_targets_are_reached(net, images):
    x, y = (part[:24] for part in images)
    targets = (y + 1) % 10
    found = registry.parse("attack", "brendel_bethge(steps=60)")(net, x, y, targets=targets)
    success, asked = np.asarray(found.success), net.predict(x, verbose=0).argmax(1) == y
    reached = net.predict(np.asarray(found.images), verbose=0).argmax(1) == targets
    np.testing.assert_array_equal(reached[asked], success[asked])
    assert success.mean() > 0.9


@pytest.mark.slow
def test_steps_and_decay_count_for_each_image(net, images):
    x, y = (part[:12] for part in images)
    one = BrendelBethge(threat=Linf(), steps=20)
    rounds = np.asarray(one(net, x, y).rounds)[net.predict(x, verbose=0).argmax(1) == y]
    assert rounds.min() >= 20 + 10 and rounds.max() <= one.rounds


def test_overshoot_below_one_is_refused():
    with pytest.raises(InvalidInput, match="overshoot"):
        BrendelBethge(overshoot=0.5)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs", "order"), [("l2", "L2", 2), ("linf", "Linfinity", np.inf), ("l1", "L1", 1)]
)
def test_not_above_foolbox(net, digits, name, theirs, order):
    fb = pytest.importorskip("foolbox")
    pytest.importorskip("numba")
    import tensorflow as tf

    x, y = digits.test[0][:40], digits.test[1][:40]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    model = fb.TensorFlowModel(net, bounds=(0, 1))
    tf.random.set_seed(0)
    start = fb.attacks.LinearSearchBlendedUniformNoiseAttack(directions=50, steps=50)
    made = getattr(fb.attacks, f"{theirs}BrendelBethgeAttack")(steps=60, lr=0.05 / len(x), init_attack=start)
    began = start.run(model, tf.constant(x), tf.constant(y, "int64"))
    fit = net.predict(began.numpy(), verbose=0).argmax(1) != y
    x, y = x[fit], y[fit]
    goal = fb.criteria.Misclassification(tf.constant(y, "int64"))
    found = made.run(model, tf.constant(x), goal, starting_points=tf.constant(began.numpy()[fit]))
    norms = np.linalg.norm((np.asarray(found) - x).reshape(len(x), -1), order, axis=1)
    ours = attack(net, x, y, f"brendel_bethge(threat={name}(), steps=60)")
    assert ours.distance.mean() <= 1.05 * norms.mean()
