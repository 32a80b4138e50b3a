"""The attack of Brendel & Bethge: closed forms of a linear model, its start, targets, and Foolbox."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, attack, registry
from keras_adv.attacks import BrendelBethge
from keras_adv.threats import Linf

DUAL = {
    "linf": lambda v: np.abs(v).sum(),
    "l2": lambda v: np.sqrt((v**2).sum()),
    "l1": lambda v: np.abs(v).max(),
}


@pytest.mark.parametrize("name", DUAL)
def test_reaches_the_optimum_of_a_linear_model(name, linear, grey):
    x, y = grey
    model, w, bias = linear
    z = x.reshape(len(x), -1) @ w + bias
    others = [[j for j in range(w.shape[1]) if j != y[i]] for i in range(len(x))]
    best = [
        min((z[i, y[i]] - z[i, j]) / DUAL[name](w[:, y[i]] - w[:, j]) for j in others[i])
        for i in range(len(x))
    ]
    result = attack(model, x, y, f"brendel_bethge(threat={name}(), steps=150)")
    assert result.success.all()
    assert (result.distance >= np.array(best) * (1 - 1e-3)).all()
    # a run may end at a class that is not the nearest
    assert np.median(result.distance / best) <= 1.01
    assert result.distance.mean() <= np.mean(best) * 1.3


def two_classes(w, lead):
    def logits(v):
        z = ops.sum(ops.reshape(v - 0.5, (-1, 64)) * w, axis=1)
        return ops.stack([z + lead, -z], axis=1)

    return logits


@pytest.mark.parametrize("name", DUAL)
def test_two_classes_leave_one_optimum(name, grey):
    x, _ = grey
    w = np.random.default_rng(0).normal(size=(64,)).astype("float32")
    gap = 2 * (x - 0.5).reshape(len(x), -1) @ w + 8.0
    x = x[gap > 0]
    found = registry.parse("attack", f"brendel_bethge(threat={name}(), steps=100)")(
        two_classes(w, 8.0), x, np.zeros(len(x), "int32")
    )
    assert np.asarray(found.success).all()
    threat = registry.parse("threat", name)
    plane = np.full(len(x), 0.5 * w.sum() - 4.0, "float32")
    nearest = threat.to_plane(ops.convert_to_tensor(x), np.broadcast_to(w.reshape(8, 8, 1), x.shape), plane)
    np.testing.assert_allclose(np.asarray(found.distance), np.asarray(threat.norm(nearest - x)), rtol=0.02)


def test_l0_changes_few_values(net, digits):
    x, y = digits.test[0][:48], digits.test[1][:48]
    result = attack(net, x, y, "brendel_bethge(threat=l0(), steps=100)")
    assert result.success.all()
    assert np.mean(result.distance[result.clean]) < 8


def test_noise_of_the_images_own_class_climbs_to_a_start(grey):
    # the class changes only in a corner that neither noise nor its blends reach
    x, _ = grey
    w = np.ones(64, "float32")
    found = registry.parse("attack", "brendel_bethge(steps=60)")(
        two_classes(w, 40.0), x, np.zeros(len(x), "int32")
    )
    assert np.asarray(found.success).all()
    gap = 2 * (x - 0.5).reshape(len(x), -1).sum(1) + 40.0
    np.testing.assert_allclose(np.asarray(found.distance), gap / 16, rtol=0.03)


def test_targets_are_reached(net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]
    targets = (y + 1) % 10
    result = attack(net, x, y, "brendel_bethge(steps=60)", targets=targets)
    got = net.predict(result.images, verbose=0).argmax(1)
    asked = result.clean
    np.testing.assert_array_equal((got == targets)[asked], result.success[asked])
    assert result.success.mean() > 0.9


def test_steps_and_decay_count_for_each_image(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    one = BrendelBethge(threat=Linf(), steps=20)
    result = attack(net, x, y, one)
    spent = result.passes[result.clean]
    assert spent.min() >= 20 + 10 and spent.max() <= one.rounds + 1


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
