"""Schedules: the rate at the steps where it matters."""

import keras
import numpy as np
import pytest

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
