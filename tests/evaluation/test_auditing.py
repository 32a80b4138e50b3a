"""The audit finds nets whose gradients mislead, and leaves honest ones alone."""

import keras
import numpy as np
import pytest
from keras import ops
from sampled import sampled

import keras_adv
from keras_adv import InvalidInput, audit, defend, zoo
from keras_adv.evaluation.auditing.slopes import computes_in_float32, slope_ratios
from keras_adv.evaluation.image_set import classify

L = keras.layers
SIGNS = np.where(np.random.default_rng(0).random((1, 8, 8, 1)) < 0.5, -1.0, 1.0).astype("float32")
COARSE = 4.0


@pytest.fixture(scope="module")
def images(digits):
    return digits.test[0][:60], digits.test[1][:60]


def with_gradient(change):
    """x itself, whose gradient is `change` of the true one."""

    @ops.custom_gradient
    def same(x):
        def backward(*args, upstream=None):
            return change(args[0] if upstream is None else upstream)

        return x, backward

    return same


def before(net, function):
    """The net after a function of its images."""
    inputs = keras.Input(net.input_shape[1:])
    return keras.Model(inputs, net(L.Lambda(function, net.input_shape[1:])(inputs)))


def straight_through(x):
    return x + ops.stop_gradient(ops.round(x * COARSE) / COARSE - x)


def after(net, function):
    return keras.Model(net.inputs, L.Lambda(function, net.output_shape[1:])(net.output))


class Noise(L.Layer):
    """Adds noise at inference too."""

    def build(self, shape):
        self.drawn = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), stddev=0.3, seed=self.drawn)


MASKED = {
    "random signs": lambda net: before(net, with_gradient(lambda g: SIGNS * g)),
    "wrong": lambda net: before(net, with_gradient(lambda g: ops.flip(g, axis=1))),
    "a tenth of it": lambda net: before(net, with_gradient(lambda g: 0.1 * g)),
    "a thousandth of it": lambda net: before(net, with_gradient(lambda g: 1e-3 * g)),
    "rounded, straight through": lambda net: before(net, straight_through),
    "rounded": lambda net: before(net, lambda x: ops.round(x * COARSE) / COARSE),
    "stopped": lambda net: after(net, ops.stop_gradient),
    "stopped in part": lambda net: before(net, lambda x: 0.2 * x + 0.8 * ops.stop_gradient(x)),
    "saturated": lambda net: after(net, lambda z: 1e4 * z),
    "not a number": lambda net: before(net, with_gradient(lambda g: g * np.nan)),
    "random": lambda net: keras.Sequential([keras.Input((8, 8, 1)), Noise(), net]),
    "shattered": lambda net: before(net, lambda x: x + 0.004 * ops.sin(3e4 * x)),
}
FALSE_SLOPES = (
    "random signs",
    "wrong",
    "a tenth of it",
    "a thousandth of it",
    "rounded, straight through",
    "stopped in part",
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MASKED)
def test_misleading_gradients_are_found(kind, net, images):
    found = audit(MASKED[kind](net), *images)
    assert found
    told = [text for text in found if "the gradient is not the slope" in text]
    if kind in FALSE_SLOPES:
        assert "what it promises" in told[0] and "attack without gradients (square())" in told[0]


@pytest.mark.slow
def test_a_stopped_gradient_and_a_saturated_softmax_are_told_apart(net, scaled, images):
    findings = audit(MASKED["stopped"](net), *images)
    assert any("exactly 0" in text for text in findings)
    assert any("without a bound" in text for text in findings)
    with scaled(net, 1e3):
        assert any("PGD on the margin breaks" in text for text in audit(net, *images))


def trained(spec):
    """A net with batch normalisation after a short training."""

    def make(digits):
        keras.utils.set_random_seed(0)
        layers = [L.Conv2D(8, 3, use_bias=False), L.BatchNormalization(), L.ReLU(), L.Flatten(), L.Dense(10)]
        net = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        return defend(net, spec, *(part[:600] for part in digits.train), epochs=8, verbose=0)

    return make


def entry(name):
    return lambda digits: zoo.load(f"{name}_lenet_digits")


HONEST = {
    **{name: entry(name) for name in ("standard", "margin", "adversarial", "critic")},
    "batch normalisation": trained("standard()"),
    "label smoothing": trained("label_smoothing()"),
}


@pytest.mark.parametrize("name", sampled(HONEST, "adversarial"))
def test_honest_nets_are_left_alone(name, images, digits):
    assert audit(HONEST[name](digits), *images) == []


@pytest.mark.parametrize("name", ["standard", "adversarial"])
def test_the_gradient_of_an_honest_net_is_the_slope(name, images):
    net = zoo.load(f"{name}_lenet_digits")
    ratios = slope_ratios(net, classify(net, *images, 100))
    assert len(ratios) == 60 and np.median(np.abs(ratios - 1)) < 0.02
    assert (np.abs(ratios - 1) < 0.3).mean() > 0.95


def test_the_ratio_is_the_share_of_the_gradient_that_is_there(net, images):
    tenth = MASKED["a tenth of it"](net)
    ratios = slope_ratios(tenth, classify(tenth, *images, 100))
    assert np.median(ratios) == pytest.approx(10.0, rel=0.02)


def test_a_net_in_half_precision_is_not_asked_for_slopes(net):
    assert computes_in_float32(net)
    half = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(10, dtype="mixed_bfloat16")])
    assert not computes_in_float32(half)


@pytest.mark.slow
def test_square_tells_what_gradients_miss_at_the_threat_that_is_asked(net, images):
    blind = MASKED["random signs"](net)
    found = audit(blind, *images, threat="linf(eps=0.3)", queries=300)
    assert any("Square, which sees no gradient" in text and "linf(eps=0.3)" in text for text in found)


@pytest.mark.parametrize(
    ("threat", "words"), [("l0(eps=3)", "`threat` must be one of"), ("linf()", "eps"), ("lnf(eps=1)", "linf")]
)
def test_a_threat_it_cannot_take_is_refused(threat, words, net, images):
    with pytest.raises(InvalidInput, match=words):
        keras_adv.audit(net, *images, threat=threat)
