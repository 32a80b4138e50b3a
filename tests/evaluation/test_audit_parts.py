"""What the audit looks at, part by part: planted images, gradients nearby, layers that mislead, copies of a
net that pass gradients through these."""

import keras
import numpy as np
import pytest
from keras import ops
from test_auditing import MASKED, SIGNS, after, before, with_gradient

from keras_adv import InvalidInput, attack, audit, registry, zoo
from keras_adv.evaluation import masking
from keras_adv.evaluation.auditing import audited_threat, slopes
from keras_adv.evaluation.auditing.attacks import of_the_standing
from keras_adv.evaluation.auditing.planted import find_planted, of_planted
from keras_adv.evaluation.auditing.slopes import ALIKE, alignment, computes_in_float32, of_gradients
from keras_adv.evaluation.auditing.surrogates import misleading_layers, straight_through
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.masking import flags_of
from keras_adv.threats import L2, Linf

L = keras.layers
BALL = Linf(eps=0.1)


@pytest.fixture(scope="module")
def images(digits):
    return digits.test[0][:60], digits.test[1][:60]


def test_a_net_is_audited_at_the_threat_of_its_training_or_at_that_of_most_attacks():
    twice = [f"{name}(threat=linf(eps=0.2))" for name in ("pgd", "apgd")]
    attacks = ["deepfool()", "pgd(threat=linf(eps=0.1))", *twice]
    assert audited_threat(attacks) == Linf(eps=0.2)
    assert audited_threat(attacks, Linf(eps=0.3)) == Linf(eps=0.3)
    assert audited_threat(attacks, registry.parse("threat", "l1(eps=12)")) == Linf(eps=0.2)
    assert audited_threat(["pgd(threat=l2(eps=0.5))", "pgd()"]) == L2(eps=0.5)  # of two alike the first
    assert audited_threat(["deepfool()", "fgsm(threat=linf(eps=0.2, box=False))"]) == BALL


@pytest.mark.parametrize("ball", [BALL, pytest.param(L2(eps=0.5), marks=pytest.mark.slow)])
def test_planted_images_are_found_where_gradients_lead_there(ball, net, images):
    found, planted = find_planted(net, classify(net, *images, 100), ball)
    assert planted >= 30 and found >= 0.95 * planted


def test_planted_images_are_not_found_where_gradients_mislead(net, images):
    blind = MASKED["random signs"](net)
    known = classify(blind, *images, 100)
    found, planted = find_planted(blind, known, BALL)
    assert planted >= 30 and found <= 0.2 * planted
    (said,) = of_planted(blind, known, BALL)
    assert f"finds {found} of {planted}" in said and "linf(eps=0.1)" in said


def test_a_net_without_features_has_nothing_planted(images):
    inputs = keras.Input((8, 8, 1))
    bare = keras.Model(inputs, ops.mean(L.Conv2D(10, 3)(inputs), axis=(1, 2)))
    assert of_planted(bare, classify(bare, *images, 100), BALL) == []


def test_gradients_nearby_are_alike_but_in_a_shattered_loss(net, images):
    assert np.median(alignment(net, classify(net, *images, 100), BALL)) > 0.9
    rough = before(net, lambda x: x + 0.004 * ops.sin(3e4 * x) + 0.004 * ops.sin(7e4 * x))
    known = classify(rough, *images, 100)
    assert np.median(alignment(rough, known, BALL)) < ALIKE
    assert any("the loss is shattered" in text for text in of_gradients(rough, known, BALL))


def tenth(x):
    return with_gradient(lambda g: 0.1 * g)(x)


MISLEADING = {
    "random signs": with_gradient(lambda g: SIGNS * g),
    "a tenth of it": tenth,
    "rounded": lambda x: ops.round(4.0 * x) / 4.0,
    "rounded, straight through": lambda x: x + ops.stop_gradient(ops.round(4.0 * x) / 4.0 - x),
    "stopped": ops.stop_gradient,
    "not a number": with_gradient(lambda g: g * np.nan),
}


@pytest.mark.parametrize("kind", MISLEADING)
def test_the_layer_that_misleads_is_named(kind, net, images):
    inputs = keras.Input(net.input_shape[1:])
    layer = L.Lambda(MISLEADING[kind], net.input_shape[1:], name="the_one")
    made = keras.Model(inputs, net(layer(inputs)))
    assert [found.name for found in misleading_layers(made, images[0])] == ["the_one"]


def test_layers_of_keras_do_not_mislead(images):
    """Dead units, kinks and equal values in a window of max pooling included."""
    body = [L.Conv2D(4, 3, activation="relu", bias_initializer="zeros"), L.MaxPooling2D(), L.LeakyReLU()]
    more = [L.BatchNormalization(), L.Flatten(), L.Dense(32, "gelu"), L.Dropout(0.5), L.Dense(10, "softmax")]
    made = keras.Sequential([keras.Input((8, 8, 1)), *body, *more])
    assert misleading_layers(made, images[0]) == []
    for name in ("mmc_lenet_mnist", "standard_wrn_cifar10"):
        entry = zoo.load(name)
        x = np.random.default_rng(0).random((16, *entry.input_shape[1:])).astype("float32")
        assert misleading_layers(entry, np.round(x, 1)) == []


def test_straight_through_a_layer_the_answers_stay_and_the_attack_gets_through(net, images):
    blind = before(net, lambda x: ops.round(8.0 * x) / 8.0)
    through = straight_through(blind, misleading_layers(blind, images[0]), (8, 8, 1))
    np.testing.assert_allclose(through(images[0]), blind(images[0]), atol=1e-4)
    spec = "pgd(threat=linf(eps=0.2), steps=10)"
    x, y = images
    assert attack(blind, x, y, spec).success.mean() < 0.2
    sent = attack(through, x, y, spec).images
    assert (np.asarray(blind(sent)).argmax(1) != y).mean() > 0.6


def test_a_layer_of_another_shape_cannot_be_passed_through(net, images):
    mixed = before(net, lambda x: ops.stop_gradient(x))
    flat = after(mixed, lambda z: ops.stop_gradient(z[:, :10]))
    found = misleading_layers(flat, images[0])
    assert len(found) == 2 and straight_through(flat, found, (8, 8, 1)) is not None
    inputs = keras.Input((4, 4, 1))
    larger = L.Lambda(lambda x: ops.stop_gradient(ops.repeat(ops.repeat(x, 2, 1), 2, 2)), (8, 8, 1))
    wide = keras.Model(inputs, net(larger(inputs)))
    assert straight_through(wide, misleading_layers(wide, images[0][:, ::2, ::2]), (4, 4, 1)) is None


@pytest.mark.slow
def test_what_breaks_standing_images_is_said_with_the_layer(net, images):
    blind = before(net, lambda x: ops.round(8.0 * x) / 8.0)
    known = classify(blind, *images, 100)
    found = of_the_standing(blind, known, known.correct, Linf(eps=0.2), 300)
    (through,) = [text for text in found if "BPDA" in text]
    assert "'lambda" in through and int(through.split("PGD breaks ")[1].split()[0]) > 30
    assert any("Square, which sees no gradient" in text for text in found)


class Rounding(L.Layer):
    """Rounds what it is given."""

    def call(self, x):
        return ops.round(8.0 * x) / 8.0


class Subclassed(keras.Model):
    """A net whose graph Keras does not know."""

    def __init__(self, net):
        super().__init__()
        self.rounding, self.net = Rounding(name="the_one"), net

    def call(self, x):
        return self.net(self.rounding(x))


@pytest.mark.slow
def test_a_subclassed_model_is_audited_too(net, images):
    made = Subclassed(net)
    made(images[0][:1])
    found = audit(made, *images, threat="linf(eps=0.2)")
    assert any("BPDA" in text and "'the_one'" in text for text in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queries": 0}, "`queries`"),
        ({"threat": "linf(eps=0)"}, "`threat`"),
        ({"threat": "linf(eps=0.1, box=False)"}, "`threat`"),
    ],
)
def test_options_are_checked_before_anything_runs(options, words, net, images):
    with pytest.raises(InvalidInput, match=words):
        audit(net, *images, **options)


def test_where_nothing_is_classified_correctly_that_is_said(net, images):
    (said,) = audit(net, images[0], (images[1] + 1) % 10)
    assert "no image" in said


def test_products_in_tf32_are_said_and_no_slope_is_judged_by_them(net, images, monkeypatch):
    known = classify(net, *images, 100)
    assert not any("TF32" in text for text in flags_of(net, known)) and computes_in_float32(net)
    for module in (masking, slopes):
        monkeypatch.setattr(module, "rounds_products", lambda: True)
    assert any("TF32" in text for text in flags_of(net, known)) and not computes_in_float32(net)
    assert all(len(text) <= 600 for text in flags_of(net, known))
