import keras
import numpy as np
import pytest
from keras import ops

import keras_adv
from keras_adv import InvalidInput, noise
from keras_adv.attacks import PGD
from keras_adv.backend import Net
from keras_adv.defenses import IBP
from keras_adv.models import MLP
from keras_adv.ramps import Ramp

SEED = noise.fold(np.uint32(0), 1)


@pytest.fixture
def nets(digits):
    net = Net(MLP(units=(16,)).build(digits.shape, digits.classes))
    net.epoch = ops.convert_to_tensor(2.0)
    return {"net": net}


def batch_of(digits, count=20):
    return tuple(ops.convert_to_tensor(part[:count]) for part in digits.train)


def cross_entropy(z, y):
    z = np.asarray(z, "float64")
    return np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(len(z)), y]


def by_hand(model, x, y, eps):
    """Bounds of a net of two Dense layers, written out."""
    w, b, v, c = (np.asarray(a, "float64") for a in model.get_weights())
    low, high = (np.clip(np.asarray(x, "float64") + s * eps, 0, 1).reshape(len(x), -1) for s in (-1, 1))
    up, down = np.maximum(w, 0), np.minimum(w, 0)
    ends = [np.maximum(a @ up + b_ @ down + b, 0) for a, b_ in ((low, high), (high, low))]
    upper = np.zeros((len(x), v.shape[1]))
    for i, own in enumerate(np.asarray(y)):
        gap = v - v[:, own : own + 1]
        upper[i] = ends[1][i] @ np.maximum(gap, 0) + ends[0][i] @ np.minimum(gap, 0) + c - c[own]
    return upper


@pytest.mark.parametrize("attack", [None, PGD("linf(eps=0.1)", steps=1, step_size=1.0)])
def test_the_loss_is_that_of_clean_or_attacked_images_and_of_the_bounds(attack, nets, digits):
    x, y = batch_of(digits)
    defense = IBP(weight=0.3, share=Ramp(0.0, 1.0, epochs=4.0), attack=attack)
    batch = {"x": x, "y": y, **defense.prepare(nets, x, y, SEED)}
    found = {name: np.asarray(v) for name, v in defense.moves()[0].loss(nets, batch).items()}
    model, images = nets["net"].model, batch.get("adversarial", x)
    upper = by_hand(model, x, y, 0.05)  # two of four epochs: half of eps
    np.testing.assert_allclose(found["bound"], 0.3 * cross_entropy(upper, np.asarray(y)), rtol=1e-4)
    name = "cross_entropy" if attack is None else "adversarial"
    np.testing.assert_allclose(
        found[name], 0.7 * cross_entropy(model(images), np.asarray(y)), rtol=1e-3, atol=1e-6
    )
    others = np.where(np.eye(10, dtype=bool)[np.asarray(y)], -np.inf, upper)
    np.testing.assert_array_equal(found["certified"], others.max(1) < 0)
    if attack is not None:
        assert 0.04 < float(np.abs(images - x).max()) <= 0.05 + 1e-6


def test_with_batch_normalisation_it_trains_by_the_statistics_that_are_served(digits):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(3, 3),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
    ]
    net = keras.Sequential([keras.Input(digits.shape), *layers, keras.layers.Dense(10)])
    x, y = (part[:100] for part in digits.train)
    logs = keras_adv.defend(net, "ibp(share=0.1)", x, y, epochs=2, batch_size=50, verbose=0).history.history
    assert np.isfinite(logs["bound"]).all() and logs["loss"][1] < logs["loss"][0]


def test_the_attack_is_in_the_ball_of_the_bounds():
    with pytest.raises(InvalidInput, match=r"`attack\.threat` must be the defense's own"):
        IBP(threat="linf(eps=0.1)", attack="pgd(threat=linf(eps=0.2), steps=1)")


@pytest.mark.slow
def test_it_learns_what_can_be_proved_and_no_attack_breaks_it(digits):
    """And plain training of as many epochs learns nothing of the kind."""
    x, y = (part[:100] for part in digits.test)
    proved = {}
    for spec in (
        "ibp(threat=linf(eps=0.05), share=ramp(0, 1, epochs=4), optimizer=adam(learning_rate=5e-3))",
        "standard()",
    ):
        net = MLP(units=(64,)).build(digits.shape, digits.classes)
        keras_adv.defend(net, spec, *digits.train, epochs=10, batch_size=50, verbose=0)
        attacks = [
            f"pgd(threat=linf(eps=0.05), steps=20, loss='{loss}')" for loss in ("cross_entropy", "margin")
        ]
        found = keras_adv.evaluate(net, x, y, attacks, certify="linf(eps=0.05)")
        proved[spec[:3]] = found["certified"]["accuracy"]
        assert found["certified"]["threat"] == "linf(eps=0.05)"
        low, high = found["certified"]["interval"]
        assert low <= found["certified"]["accuracy"] <= high
        assert all(row["robust_accuracy"] >= found["certified"]["accuracy"] for row in found["attacks"])
    assert proved["ibp"] > 0.6 > 0.3 > proved["sta"]


@pytest.mark.parametrize(
    ("threat", "word"), [("l2(eps=1.0)", "`certify`"), ("linf()", "eps"), ("linf", "eps")]
)
def test_only_a_linf_ball_is_certified(threat, word, net, digits):
    with pytest.raises(InvalidInput, match=word):
        keras_adv.evaluate(net, *(part[:5] for part in digits.test), "fgsm()", certify=threat)
