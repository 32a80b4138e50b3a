import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, attack, fit, noise, registry
from keras_adv.attacks import PGD
from keras_adv.backend import Net
from keras_adv.defenses.mmc import MMC, wrong_class
from keras_adv.layers import centres_of
from keras_adv.models import MLP
from keras_adv.numerics.simplex import simplex
from keras_adv.threats import Linf

FEW = PGD(threat=Linf(eps=0.1), steps=4)


@pytest.fixture(scope="module")
def trained(digits):
    net = MLP(units=(64,)).build(digits.shape, digits.classes)
    return fit.defend(net, "mmc()", *digits.train, epochs=4, batch_size=60, verbose=0)


def prepared(defense, model, x, y):
    nets = {"net": Net(model)}
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    batch = {"x": x, "y": y, **defense.prepare(nets, x, y, ops.cast(7, "uint32"))}
    return nets, batch


def test_the_loss_is_the_squared_distance_to_the_own_centre(trained, digits):
    x, y = (part[:24] for part in digits.train)
    defense = MMC()
    nets, batch = prepared(defense, trained, x, y)
    phi, z = (np.asarray(v) for v in nets["net"].features_and_logits(batch["x"]))
    mu = simplex(10, 64, 10.0)
    terms = defense._loss(nets, batch)
    assert tuple(terms) == ("centre_distance", "accuracy")
    np.testing.assert_allclose(terms["centre_distance"], ((phi - mu[y]) ** 2).sum(1), rtol=1e-4)
    np.testing.assert_array_equal(z.argmax(1), ((phi[:, None] - mu) ** 2).sum(2).argmin(1))


def test_it_learns_digits(trained, digits):
    assert (trained.predict(digits.test[0], verbose=0).argmax(1) == digits.test[1]).mean() > 0.9


def test_the_adversarial_form_trains_on_its_attack_alone(trained, digits):
    x, y = (part[:40] for part in digits.train)
    clean = MMC()._loss(*prepared(MMC(), trained, x, y))["centre_distance"]
    for defense in (MMC(attack=FEW), MMC(attack=FEW, targeted=True)):
        nets, batch = prepared(defense, trained, x, y)
        delta = np.abs(np.asarray(batch["images"]) - x)
        assert 0.05 < delta.max() <= 0.1 + 1e-6
        got = defense._loss(nets, batch)["centre_distance"]
        assert np.mean(got) > 1.2 * np.mean(clean)
        only = defense._loss(nets, {**batch, "x": ops.zeros_like(batch["x"])})["centre_distance"]
        np.testing.assert_array_equal(got, only)


def test_a_targeted_attack_comes_nearer_to_its_target(trained, digits):
    x, y = (part[:60] for part in digits.train)
    seeds = noise.seeds(ops.cast(7, "uint32"), ops.arange(60))
    target = np.asarray(wrong_class(ops.convert_to_tensor(y, "int32"), seeds, 10))
    nets, batch = prepared(MMC(attack=FEW, targeted=True), trained, x, y)
    p_before, p_after = (
        np.asarray(ops.softmax(nets["net"].logits(v)))[np.arange(60), target] for v in (x, batch["images"])
    )
    assert (p_after >= p_before).mean() > 0.9


def test_wrong_classes_are_wrong_and_even():
    y = np.arange(6000, dtype="int32") % 5
    drawn = np.asarray(wrong_class(ops.convert_to_tensor(y), noise.seeds(3, ops.arange(6000)), 5))
    assert (drawn != y).all() and drawn.min() == 0 and drawn.max() == 4
    shift = np.bincount((drawn - y) % 5, minlength=5)
    assert shift[0] == 0 and (np.abs(shift[1:] - 1500) < 150).all()


def test_its_objective_is_its_loss_and_breaks_the_net(trained, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    spec = "pgd(threat=linf(eps=0.2), steps=20, loss='centre_distance')"
    assert attack(trained, x, y, spec).success.mean() > 0.8
    assert attack(trained, x, y, spec, targets="next").success.mean() > 0.3
    used = [one.loss.name for one in MMC().adaptive_attack("linf(eps=0.1)").attacks if hasattr(one, "loss")]
    assert "centre_distance" in used


def test_the_predictor_saves_and_loads_and_keeps_its_head(trained, digits, tmp_path):
    trained.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trained.predict(x, verbose=0))
    assert not loaded.layers[-1].trainable_variables
    np.testing.assert_allclose(centres_of(loaded), simplex(10, 64, 10.0), atol=1e-5)
    assert MMC().predictor(loaded) is loaded


def test_steps_are_counted(digits):
    assert MMC().passes(10) == {"net.weights": 1}
    assert MMC(attack=FEW).passes(10) == {"net.input": 4, "net.weights": 1}


def test_what_cannot_work_is_refused(fresh):
    with pytest.raises(InvalidInput, match="targeted form"):
        MMC(targeted=True)
    with pytest.raises(InvalidInput, match="targeted form"):
        registry.parse("defense", "mmc(targeted=True, attack=deepfool())")
    with pytest.raises(InvalidInput, match="`dim` must be the width"):
        MMC(dim=None).predictor(fresh)


@pytest.mark.parametrize("defense", ["mmc_cifar", "mmc_mnist", "mmc_cifar_adversarial"])
def test_presets_print_and_parse(defense):
    defense = registry.parse("defense", defense)
    assert registry.parse("defense", registry.spec(defense)) == defense
