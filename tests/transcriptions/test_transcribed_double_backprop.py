"""Double backpropagation and the contractive penalty against a second writing (double_backprop.py), on a net
with batch normalisation."""

import pytest
import tensorflow as tf

from keras_adv.backend import Net
from keras_adv.defenses import DoubleBackprop
from tests.transcriptions import double_backprop
from tests.transcriptions.mat import value_and_gradients
from tests.transcriptions.twins import check, double, images, net, of_the_package, same_statistics, wide


@pytest.mark.parametrize("of, weight", [("loss", 0.5), ("loss", 3.0), ("logits", 0.7)])
def test_both_terms_and_their_gradients(of, weight):
    """The error in training mode, whose statistics are then stored; its slopes by the statistics that were
    stored before. Their gradients by the weights are second derivatives. 1/2 is the weight of 1992."""
    model, (x, y, _) = net(), images(4)
    twin = double(model)
    move = DoubleBackprop(weight=weight, of=of).moves()[0]
    found = of_the_package(move, {"net": Net(model)}, {"x": x, "y": y})
    want = value_and_gradients(
        lambda: double_backprop.terms(twin, wide(x), y, weight, of),
        [v.value for v in twin.trainable_variables],
    )
    check(found["cross_entropy"], want["error"])
    check(found["slope"], want["slope"])
    same_statistics(model, twin)


@pytest.mark.parametrize("of", ["loss", "logits"])
def test_the_slopes_are_of_all_units(of):
    """Those that training drops stay: the rate is 0.5 on the package's side, and 0 on the other."""
    model, (x, y, _) = net(rate=0.5), images(2)
    move = DoubleBackprop(weight=1.0, of=of).moves()[0]
    found = of_the_package(move, {"net": Net(model)}, {"x": x, "y": y})["slope"]
    twin = double(net())
    want = value_and_gradients(
        lambda: {"slope": double_backprop.penalties(twin, wide(x), y, 1.0, of)},
        [v.value for v in twin.trainable_variables],
    )["slope"]
    check(found, want)


def test_the_second_writing_has_the_second_derivatives_of_differences():
    """The gradient that the comparison rests on, against differences of its own values in float64."""
    twin, (x, y, _) = double(net()), images(1)

    def size():
        return sum(double_backprop.penalties(twin, wide(x), y, 0.5, "loss"))

    with tf.GradientTape() as tape:
        value = size()
    weights = [v for v in twin.trainable_variables if v.name in ("kernel", "gamma")]
    zero = tf.UnconnectedGradients.ZERO
    slopes = tape.gradient(value, [v.value for v in weights], unconnected_gradients=zero)
    for weight, slope in zip(weights, slopes, strict=True):
        place, old, ends = (0,) * len(weight.shape), weight.numpy(), []
        for side in (1e-5, -1e-5):
            moved = old.copy()
            moved[place] += side
            weight.assign(moved)
            ends.append(float(size()))
        weight.assign(old)
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(slope[place]), rel=1e-5, abs=1e-8)
