"""MART against a second writing of its paper (mart.py), on a net with batch normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_adv.attacks import PGD
from keras_adv.backend import Net
from keras_adv.defenses import Mart
from keras_adv.threats import Linf
from tests.transcriptions import mart
from tests.transcriptions.mat import value_and_gradients
from tests.transcriptions.twins import (
    CLASSES,
    check,
    double,
    images,
    net,
    of_the_package,
    same_statistics,
    wide,
)

BOTH = {"boosted_cross_entropy": "bce", "kl": "kl"}

# (z, z', y): unsure, wrong and right; sure of y at x, at x and x', at x but of another at x'; sure and wrong
# at both; wrong at x' alone; right at x' alone
LOGITS = (
    ([0.5, -1.0, 0.25, 2.0], [0.0, 1.5, -0.5, 1.0], 3),
    ([0.5, -1.0, 0.25, 2.0], [0.0, 1.5, -0.5, 1.0], 0),
    ([20.0, 0.0, -5.0, 1.0], [3.0, 2.0, -5.0, 1.0], 0),
    ([64.0, 0.0, -5.0, 1.0], [60.0, 3.0, -4.0, 0.5], 0),
    ([64.0, 0.0, -5.0, 1.0], [-3.0, 61.0, -4.0, 0.5], 0),
    ([-60.0, 48.0, 0.0, 2.0], [-58.0, 50.0, 4.0, 2.0], 0),
    ([2.0, 0.0, 0.0, 1.0], [-50.0, 47.0, 3.0, 1.0], 2),
    ([2.0, 0.0, 0.0, 1.0], [80.0, -3.0, 3.0, 1.0], 0),
)


def scaled(model, factor):
    """The same net, its logits times `factor`."""
    head = model.layers[-1]
    head.set_weights([factor * w for w in head.get_weights()])
    return model


@pytest.mark.parametrize("weight, factor", [(1.0, 1.0), (5.0, 1.0), (5.0, 25.0)])
def test_the_terms_and_their_gradients(weight, factor):
    """In training mode, x and x' each by the statistics of its own batch, both p of the divergence and that
    of its weight learning. With factor 25 most p are 0 or 1 in float32, and its logits lose two digits."""
    defense, model = Mart(weight=weight, statistics="each"), scaled(net(), factor)
    twin = double(model)
    x, y, moved = images(5)
    got = of_the_package(defense.moves()[0], {"net": Net(model)}, {"x": x, "y": y, "adversarial": moved})
    weights = [v.value for v in twin.trainable_variables]
    want = value_and_gradients(lambda: mart.mart_terms(twin, wide(x), y, wide(moved), weight), weights)
    for ours, theirs in BOTH.items():
        check(got[ours], want[theirs], 1e-5 if factor == 1 else 1e-4)


def by_logits(weight):
    """What the package says of `LOGITS`: {term: (values, gradients by z, gradients by z')} by image."""
    inputs = keras.Input((CLASSES,))
    identity = Net(keras.Model(inputs, keras.layers.Activation("linear")(inputs)))
    z, moved, y = (np.array(column) for column in zip(*LOGITS, strict=True))
    z, moved = tf.constant(z.astype("float32")), tf.constant(moved.astype("float32"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, moved])
        batch = {"x": z, "adversarial": moved, "y": tf.constant(y.astype("int32"))}
        terms = Mart(weight=weight).moves()[0].loss({"net": identity}, batch)
        sums = {name: tf.reduce_sum(values) for name, values in terms.items()}
    zero = tf.UnconnectedGradients.ZERO
    slopes = {name: tape.gradient(sums[name], [z, moved], unconnected_gradients=zero) for name in terms}
    return {name: (terms[name].numpy(), *(g.numpy() for g in slopes[name])) for name in terms}


@pytest.mark.parametrize("number", range(len(LOGITS)))
def test_values_and_slopes_by_the_logits_even_where_p_is_0_or_1(number):
    """Relative to what there is: of a p that is 1 but for 1e-28 the slope has its digits. (float32 knows
    log p only to 1e-7, and the divergence no better.)"""
    z, moved, label = LOGITS[number]
    got = by_logits(weight=2.0)
    slopes = mart.slopes(np.array(z), np.array(moved), label)
    doubles = tf.constant(z, tf.float64), tf.constant(moved, tf.float64)
    bce, by_clean, by_moved = (v[number] for v in got["boosted_cross_entropy"])
    np.testing.assert_allclose(bce, mart.bce(doubles[1], label), rtol=1e-5)
    assert not by_clean.any()
    largest = np.abs(slopes["bce"][1]).max()
    np.testing.assert_allclose(by_moved, slopes["bce"][1], rtol=1e-4, atol=1e-5 * largest)
    kl, by_clean, by_moved = (v[number] for v in got["kl"])
    rest = float(1 / (1 + 1 / mart.odds_against(doubles[0], label)))
    np.testing.assert_allclose(kl, 2 * mart.weighted_kl(*doubles, label), rtol=1e-5, atol=1e-6 * rest)
    for ours, want in zip((by_clean, by_moved), slopes["kl"], strict=True):
        np.testing.assert_allclose(ours, 2 * want, rtol=1e-4, atol=1e-5 * rest)


def test_the_transcription_is_the_printed_formula():
    """Where no p is near 0 or 1; and the slopes written out are those of a tape, at every logit."""
    for number, (z, moved, label) in enumerate(LOGITS):
        z, moved = tf.constant(z, tf.float64), tf.constant(moved, tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([z, moved])
            terms = {"bce": mart.bce(moved, label), "kl": mart.weighted_kl(z, moved, label)}
        p = tf.nn.softmax(z).numpy()
        for name, want in mart.slopes(z.numpy(), moved.numpy(), label).items():
            for at, slope in zip((z, moved), want, strict=True):
                got = tape.gradient(terms[name], at, unconnected_gradients="zero")
                size = np.abs(slope).max() if name == "bce" else mart.rest(p, label)
                np.testing.assert_allclose(got, slope, rtol=1e-9, atol=1e-12 * size)
        if number < 3:
            printed = mart.as_printed(z, moved, label)
            np.testing.assert_allclose([float(v) for v in terms.values()], printed, rtol=1e-6)


def test_x_adv_ascends_the_cross_entropy_in_inference():
    """Units that training drops stay (rate 0.5 on the package's side)."""
    attack = PGD(threat=Linf(eps=0.05), steps=2, step_size=0.6, random_start=False)
    x, y, _ = images(5)
    seed = ops.cast(3, "uint32")
    nets = {"net": Net(net(rate=0.5))}
    found = Mart(attack=attack).prepare(nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), seed)
    want = mart.ascend(double(net()), wide(x), y, 0.05, 0.6 * 0.05, 2)
    # a slope of 0 within float32 may take either sign: a pixel in a hundred may differ
    assert np.mean(np.abs(np.asarray(found["adversarial"]) - want) < 1e-5) > 0.99


def test_each_pass_moves_the_statistics_as_in_the_authors_code():
    """By x, then by x'."""
    model, (x, y, moved) = net(), images(5)
    twin = double(model)
    defense = Mart(statistics="each")
    of_the_package(defense.moves()[0], {"net": Net(model)}, {"x": x, "y": y, "adversarial": moved})
    twin(tf.constant(wide(x)), training=True)
    twin(tf.constant(wide(moved)), training=True)
    same_statistics(model, twin)
