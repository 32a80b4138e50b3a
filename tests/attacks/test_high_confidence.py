"""The high-confidence attack: the confidence asked for, the clean one by default, and its unrolled form."""

import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import attack
from keras_adv.attacks import HighConfidence
from keras_adv.backend import Net


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("confidence", sampled([0.4, 0.95], 0.4))
def test_reaches_the_confidence_asked_for(confidence, net, digits):
    x, y = digits.test[0][:64], digits.test[1][:64]
    result = attack(net, x, y, HighConfidence(confidence=confidence))
    found = result.clean & result.success
    p = softmax(net.predict(result.images[found], verbose=0)).max(1)
    assert found.sum() > 50 and (p >= confidence - 1e-4).all()


def test_asks_for_the_clean_confidence_by_default(net, digits):
    x, y = digits.test[0][:64], digits.test[1][:64]
    result = attack(net, x, y, "high_confidence()")
    found = result.clean & result.success
    clean = softmax(net.predict(x[found], verbose=0)).max(1)
    p = softmax(net.predict(result.images[found], verbose=0)).max(1)
    assert (p >= clean - 1e-4).all()


def test_unrolled_reaches_c_on_a_softmax_linear_net(linear, grey):
    model, _, _ = linear
    x, y = grey
    target = (y + 1) % 5
    log_c = np.full(len(x), np.log(0.8), "float32")
    climb = HighConfidence(steps=8, overshoot=0.0, max_step=None)
    made = climb.unrolled(Net(model).logits, ops.convert_to_tensor(x), target, log_c)
    p = softmax(model.predict(np.asarray(made), verbose=0))[np.arange(len(x)), target]
    np.testing.assert_allclose(p, 0.8, atol=5e-3)


def test_unrolled_stops_where_the_confidence_is_reached_already(linear, grey):
    model, _, _ = linear
    x, y = grey
    low = np.full(len(x), np.log(1e-3), "float32")
    sure = softmax(model.predict(x, verbose=0))[np.arange(len(x)), y] > 1e-3
    made = HighConfidence(steps=3).unrolled(Net(model).logits, ops.convert_to_tensor(x), y, low)
    np.testing.assert_array_equal(np.asarray(made)[sure], x[sure])
