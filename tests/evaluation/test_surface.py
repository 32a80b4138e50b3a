"""The loss surface: exact for a linear net, and what is said of gradients that lead, mislead or bend."""

import keras
import numpy as np
import pytest
from keras import ops
from test_auditing import MASKED, before

from keras_adv import InvalidInput
from keras_adv.evaluation import surface
from keras_adv.evaluation.auditing.surface import STEPS

L = keras.layers


@pytest.mark.parametrize(("threat", "dual"), [("linf(eps=0.02)", 1), ("l2(eps=0.2)", 2)])
def test_of_a_linear_net_it_is_a_plane_as_steep_as_the_gradient(threat, dual, grey):
    rng = np.random.default_rng(0)
    inputs = keras.Input((8, 8, 1))
    net = keras.Model(inputs, L.Dense(2)(L.Flatten()(inputs)))
    w = rng.normal(size=(64, 2)).astype("float32")
    net.set_weights([w, -0.5 * w.sum(0)])
    x = grey[0]
    y = net.predict(x, verbose=0).argmax(1).astype("int32")
    found = surface(net, x, y, threat)
    assert found.margins.shape == (3, 17, 17) and len(found.start) == 16
    eps = float(threat.split("=")[1].rstrip(")"))
    steep = eps * np.linalg.norm(w[:, 0] - w[:, 1], dual)
    np.testing.assert_allclose(found.promised, steep, rtol=1e-4)
    np.testing.assert_allclose(found.along, steep, rtol=1e-3)
    assert (found.by_chance >= 0).all() and (found.by_chance < steep / 2).all()
    np.testing.assert_allclose(found.margins[:, 8, 8], found.start[:3], atol=1e-4)
    # rows go up by the gradient, columns by one random slope
    up = found.margins - found.margins[:, 8:9]
    np.testing.assert_allclose(up, np.broadcast_to(steep * STEPS[:, None], up.shape), atol=1e-3 * steep)
    aside = found.margins[:, 8, :] - found.start[:3, None]
    np.testing.assert_allclose(np.abs(aside), np.abs(np.outer(found.by_chance[:3], STEPS)), atol=1e-3 * steep)
    assert "lasts as far as the ball reaches" in found.words


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda net: net, "lasts as far as the ball reaches"),
        (MASKED["random signs"], "hardly further than chance"),
        (lambda net: before(net, lambda x: 0.3 * x + 0.01 * ops.sin(32 * np.pi * x)), "bends away"),
    ],
    ids=["honest", "random signs", "bent"],
)
def test_what_is_said_follows_from_what_the_gradient_does(made, said, net, digits):
    x = digits.test[0][:60]
    model = made(net)
    found = surface(model, x, model.predict(x, verbose=0).argmax(1).astype("int32"))
    assert said in found.words and "linf(eps=0.1)" in found.words, found.words


def test_another_threat_and_a_net_that_is_never_right_are_refused(net, digits):
    x, y = digits.test[0][:5], digits.test[1][:5]
    for threat in ("l1(eps=1)", "linf()"):
        with pytest.raises(InvalidInput, match="`threat`"):
            surface(net, x, y, threat)
    with pytest.raises(InvalidInput, match="classifies an image correctly"):
        surface(net, x, (net.predict(x, verbose=0).argmax(1) + 1) % 10)
