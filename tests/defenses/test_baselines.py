"""Label smoothing, double backpropagation and the contractive penalty; what every defense says of itself."""

import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.backend import Net, value_and_grad
from keras_adv.defenses.double_backprop import DoubleBackprop
from keras_adv.defenses.label_smoothing import LabelSmoothing, smoothed_cross_entropy
from keras_adv.losses import cross_entropy

LOGITS = 3 * np.random.default_rng(0).normal(size=(30, 5)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 5, 30).astype("int32")


def log_softmax(z):
    z = z.astype("float64") - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0])
def test_smoothed_cross_entropy_in_numpy(alpha):
    target = np.full((30, 5), (1 - alpha) / 4)
    target[np.arange(30), LABELS] = alpha
    want = -(target * log_softmax(LOGITS)).sum(1)
    np.testing.assert_allclose(smoothed_cross_entropy(LOGITS, LABELS, alpha), want, rtol=1e-5)


def test_its_limits_are_cross_entropy_and_no_label_at_all():
    plain = smoothed_cross_entropy(LOGITS, LABELS, 1.0)
    np.testing.assert_allclose(plain, cross_entropy(LOGITS, LABELS), rtol=1e-5, atol=1e-6)
    others = (LABELS + 1) % 5
    blind = [smoothed_cross_entropy(LOGITS, y, 0.2) for y in (LABELS, others)]
    np.testing.assert_allclose(*blind, rtol=1e-5)


def test_its_least_value_is_the_entropy_where_the_prediction_is_the_target():
    best, y = np.log(np.float32([[0.8, 0.05, 0.05, 0.05, 0.05]])), ops.convert_to_tensor(np.int32([0]))
    value, _, g = value_and_grad(lambda v: (smoothed_cross_entropy(v, y, 0.8), None), best)
    assert float(value[0]) == pytest.approx(-(0.8 * np.log(0.8) + 0.2 * np.log(0.05)), rel=1e-5)
    np.testing.assert_allclose(g, np.zeros((1, 5)), atol=1e-6)
    assert np.isfinite(np.asarray(smoothed_cross_entropy(1e3 * LOGITS, LABELS, 0.8))).all()


def test_the_defense_is_that_loss_on_clean_images(linear, grey):
    model, _, _ = linear
    x, y = map(ops.convert_to_tensor, grey)
    got = LabelSmoothing(alpha=0.7).moves()[0].loss({"net": Net(model)}, {"x": x, "y": y})
    want = smoothed_cross_entropy(Net(model).logits(x), y, 0.7)
    np.testing.assert_allclose(got["cross_entropy"], want, rtol=1e-5)


def slopes(model, x, y, **options):
    batch = {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}
    return DoubleBackprop(**options).moves()[0].loss({"net": Net(model)}, batch)


def test_penalties_of_a_linear_model_are_known(linear, grey):
    model, w, _ = linear
    x, y = grey
    p = np.exp(log_softmax(model.predict(x, verbose=0)))
    p[np.arange(len(y)), y] -= 1
    got = slopes(model, x, y, weight=0.5)
    np.testing.assert_allclose(got["slope"], 0.5 * ((p @ w.T) ** 2).sum(1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(got["cross_entropy"], cross_entropy(Net(model).logits(x), y), atol=1e-5)
    got = slopes(model, x, y, weight=0.5, of="logits")["slope"]
    np.testing.assert_allclose(got, np.full(len(x), 0.5 * (w**2).sum()), rtol=1e-4)


@pytest.mark.parametrize("of", ["loss", "logits"])
def test_slopes_equal_finite_differences_by_the_images(of, smooth):
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 6).astype("int32")
    net, total = Net(smooth), np.zeros(6)
    value = {"loss": lambda v: np.asarray(cross_entropy(net.logits(v), y))[:, None], "logits": net.logits}[of]
    for i in range(16):
        step = np.zeros((1, 16), "float32")
        step[0, i] = 2e-2
        step = step.reshape(1, 4, 4, 1)
        ends = [np.asarray(value(ops.convert_to_tensor(x + s * step)), "float64") for s in (1, -1)]
        total += (((ends[0] - ends[1]) / 4e-2) ** 2).sum(1)
    np.testing.assert_allclose(slopes(smooth, x, y, weight=1.0, of=of)["slope"], total, rtol=0.01)


def test_a_weight_of_0_is_plain_cross_entropy(smooth):
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 6).astype("int32")
    got = slopes(smooth, x, y, weight=0.0)
    assert not np.asarray(got["slope"]).any()
    np.testing.assert_allclose(got["cross_entropy"], cross_entropy(Net(smooth).logits(x), y), rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "threat"),
    [
        ("standard()", None),
        ("critic()", None),  # its attack has a norm and no eps
        ("margin(threat=l2(eps=1.5))", "l2(eps=1.5)"),
        ("fast(threat=linf(eps=0.3))", "linf(eps=0.3)"),
        ("mmc()", None),
        ("mmc(attack=pgd(threat=linf(eps=0.2)))", "linf(eps=0.2)"),
        ("awp(inner=mart(attack=pgd(threat=l2(eps=0.5))))", "l2(eps=0.5)"),
    ],
)
def test_a_defense_knows_the_threat_that_it_trains_for(spec, threat):
    found = registry.parse("defense", spec).trained_threat
    assert (found and registry.spec(found)) == threat
