"""VFGA: the fewest changes of a linear model, its vote, whole pixels."""

import numpy as np
import pytest
from closed_forms import task_of, two_classes
from keras import ops

from keras_adv import attack, registry


def test_changes_as_few_values_as_a_linear_model_of_two_classes_needs(grey):
    """There the values of the largest gains are the right ones; of 20 draws one goes to the end of the
    box."""
    x, w = grey[0][:8], np.random.default_rng(0).normal(size=64).astype("float32")
    lead = 12.0 - 2 * ((x - 0.5).reshape(8, -1) @ w).max()
    found = registry.parse("attack", "vfga(samples=20)")(two_classes(w, lead), x, np.zeros(8, "int32"))
    flat = x.reshape(8, -1)
    gains = -np.sort(-np.where(w < 0, 1 - flat, flat) * np.abs(w), axis=1)
    need = lead / 2 + (flat - 0.5) @ w
    fewest = (np.cumsum(gains, axis=1) < need[:, None]).sum(1) + 1
    assert fewest.min() > 1 and np.asarray(found.success).all()
    np.testing.assert_array_equal(found.distance, fewest)
    np.testing.assert_array_equal(found.rounds, fewest)  # a value a round, and no other round to look


def test_what_fools_goes_before_what_is_less_certain():
    def logits(v):
        """Class 1 wins at the end of the box only, where class 0 is likelier than anywhere else."""
        v = v[:, :, 0, 0]
        end = ops.cast(v >= 1.0, "float32")
        return ops.concatenate([0.01 * v, end * 0.2 - 0.1, -0.1 - 5.0 * end], axis=1)

    x, y = np.full((4, 1, 1, 1), 0.5, "float32"), np.zeros(4, "int32")
    found = registry.parse("attack", "vfga(samples=20)")(logits, x, y)
    assert np.asarray(found.success).all() and (np.asarray(found.images) == 1.0).all()


def test_a_pixel_changes_as_a_whole_along_the_gradient():
    w = np.zeros((2, 2, 3), "float32")
    w[0, 1], w[1, 0] = (2.0, -1.0, 2.0), (4.0, 0.0, 0.0)  # the largest sum, and the largest value
    x = np.full((2, 2, 2, 3), 0.5, "float32")

    def logits(v):
        z = ops.sum(v * w, axis=(1, 2, 3)) - 3.5 - 2.0
        return ops.stack([-z, z], axis=1)

    found = registry.parse("attack", "vfga(threat=l0(), samples=20)").run(task_of(logits, x, eps=None))
    assert np.asarray(found.success).all() and (np.asarray(found.distance) == 1.0).all()
    change = np.asarray(found.images) - x
    assert (np.sign(change[:, 0, 1]) == (1, -1, 1)).all()


def test_every_value_is_changed_once_and_then_it_ends():
    def logits(v):
        return ops.stack([1.0 + 0.0 * v[:, 0, 0, 0], 0.0 * v[:, 0, 0, 0]], axis=1)

    x = np.linspace(0.0, 1.0, 4, dtype="float32").reshape(1, 2, 2, 1)
    one, task = registry.parse("attack", "vfga(samples=1)"), task_of(logits, x)
    state, changed = one.begin(task), []
    for k in range(5):
        new, ended = one.step(task, {**state, "k": state["k"] * 0 + k})
        changed.append(int((np.asarray(new["x"]) != x).sum()))
        assert bool(ended[0]) == (k == 4)
        state = {**new, "k": state["k"]}
    assert changed == [1, 2, 3, 4, 4]


@pytest.mark.slow
def test_a_target_is_reached(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    result = attack(net, x, y, "vfga(samples=3)", targets="runner_up")
    free = attack(net, x, y, "vfga(samples=3)")
    assert result.success.all() and result.distance.mean() >= free.distance.mean()
