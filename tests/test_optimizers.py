"""Schedules: the rate at the steps where it matters."""

import keras
import numpy as np
import pytest

from keras_adv import defend
from keras_adv.models import MLP
from keras_adv.optimizers import SGD, OneCycle


def test_one_cycle_rises_then_falls_to_nothing():
    made = SGD(learning_rate=0.2, schedule=OneCycle(rise=0.25)).build(steps_per_epoch=10, epochs=4)
    schedule = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made._learning_rate))
    rates = [float(schedule(step)) for step in range(41)]
    assert rates[0] == pytest.approx(0.2 / 25)
    assert rates[10] == pytest.approx(0.2) == max(rates)
    assert rates[25] == pytest.approx(0.1) and rates[40] == pytest.approx(0.0)
    np.testing.assert_allclose(np.diff(rates[:11]), np.diff(rates)[0], rtol=1e-3)
    np.testing.assert_allclose(np.diff(rates[10:]), np.diff(rates)[-1], rtol=1e-3)


def one_step(spec):
    """(weights before, after) a step of a net whose kernel and bias have a gradient."""
    net = MLP(units=(4,)).build((4, 4, 1), 3)
    net.get_layer("features").bias.assign(np.ones(4))
    before = net.get_weights()
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 4, 4, 1)).astype("float32"), (np.arange(30) % 3).astype("int32")
    return before, defend(
        net, f"standard(optimizer={spec})", x, y, epochs=1, batch_size=30, verbose=0
    ).get_weights()


def test_decay_may_be_of_kernels_alone():
    plain, every, kernels = (
        one_step(f"sgd(learning_rate=0.1, momentum=0.0{decay})")
        for decay in ("", ", weight_decay=0.5", ", weight_decay=0.5, decays='kernels'")
    )
    for old, new, all_decay, some in zip(plain[0], plain[1], every[1], kernels[1], strict=True):
        np.testing.assert_allclose(all_decay, new - 0.05 * old, atol=1e-6)
        np.testing.assert_allclose(some, new - 0.05 * old * (old.ndim > 1), atol=1e-6)


@pytest.mark.parametrize("name", ["sgd(learning_rate=1.0, momentum=0.0, clip=1e-3)", "adam(clip=1e-3)"])
def test_a_gradient_is_shortened_as_a_whole(name):
    before, after = one_step(name)
    moved = np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(before, after, strict=True)))
    assert moved == pytest.approx(1e-3, rel=1e-3) if name.startswith("sgd") else moved > 0
