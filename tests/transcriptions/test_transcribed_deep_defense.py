"""Deep Defense against a second writing of its paper (deep_defense.py), on a net with batch normalisation."""

import numpy as np
import pytest
from keras import ops

from keras_adv.backend import Net
from keras_adv.defenses.deep_defense import DeepDefense
from tests.transcriptions import deep_defense
from tests.transcriptions.small_net import (
    RTOL,
    assert_same_gradients,
    images,
    package_values_and_gradients,
    twins,
)

IMAGES = 4
D_BELOW_AND_ABOVE = (8.0, 100.0, 300.0)


WRONG_RIGHT_WRONG_RIGHT = (1, 1, 3, 2)
"""The scene's images, and how many steps each takes (3: that many at least)."""


def scene(seed=12):
    """The net twice, images, and labels of which half are not what the net says.

    Its dropout has a rate of 0, so that it is one net whether or not a pass drops units.
    """
    single, double = twins(seed)
    x = images(4, IMAGES)
    said = np.asarray(single(x, training=False))
    y = said.argmax(1)
    y[0], y[2] = said[0].argsort()[1], said[2].argmin()  # the second likeliest, and the least likely
    return single, double, x, y.astype("int32")


def of_the_package(defense, single, x, y):
    nets, batch = {"net": Net(single)}, {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}
    batch |= defense.prepare(nets, batch["x"], batch["y"], None)
    return package_values_and_gradients(
        lambda: defense.moves()[0].loss(nets, batch), single, ("cross_entropy", "fragility")
    )


def of_the_paper(double, x, y, **how):
    return deep_defense.values_and_gradients(
        double, x.astype("float64"), y, double.trainable_variables, **how
    )


@pytest.mark.parametrize(
    "steps", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(5, marks=pytest.mark.slow)]
)
def test_values_and_gradients_are_those_of_equation_6(steps):
    """Both branches, with every step differentiated through all that went before it."""
    single, double, x, y = scene()
    defense = DeepDefense(weight=1.0, c=2.0, d=1.0, steps=steps, freeze_norm=False)
    values, gradients = of_the_package(defense, single, x, y)
    wanted, slopes = of_the_paper(double, x, y, c=2.0, d=1.0, steps=steps)
    np.testing.assert_allclose(values["cross_entropy"], wanted["cross_entropy"], rtol=RTOL)
    np.testing.assert_allclose(values["fragility"], wanted["regulariser"], rtol=RTOL)
    assert_same_gradients(gradients["cross_entropy"], slopes["cross_entropy"], single)
    assert_same_gradients(gradients["fragility"], slopes["regulariser"], single, rtol=5 * RTOL)


def test_the_images_take_different_numbers_of_steps():
    """What is compared above has images that stop early and others that do not, on both branches."""
    _, double, x, y = scene()
    lengths = [
        [float(deep_defense.rho(double, image, int(label), steps)) for steps in (1, 2, 3)]
        for image, label in zip(ops.convert_to_tensor(x.astype("float64")), y, strict=True)
    ]
    for (first, second, third), steps in zip(lengths, WRONG_RIGHT_WRONG_RIGHT, strict=True):
        assert (first == second, second == third) == (steps < 2, steps < 3)


@pytest.mark.parametrize("d", D_BELOW_AND_ABOVE)
def test_the_exponent_of_a_wrong_image_is_cut_at_20_and_no_sooner(d):
    """exp(d rho) of equation 6 keeps its gradient up to e^20, beyond it has none."""
    single, double, x, y = scene()
    x, y = x[::2], y[::2]
    defense = DeepDefense(weight=1.0, c=2.0, d=d, steps=1, freeze_norm=False)
    values, gradients = of_the_package(defense, single, x, y)
    wanted, slopes = of_the_paper(double, x, y, c=2.0, d=d, steps=1)
    np.testing.assert_allclose(values["fragility"], wanted["regulariser"], rtol=20 * RTOL)
    assert_same_gradients(gradients["fragility"], slopes["regulariser"], single, rtol=50 * RTOL)


@pytest.mark.parametrize(
    "layers",
    [
        ("conv",),
        ("conv_1", "dense_1"),
        *(pytest.param((name,), marks=pytest.mark.slow) for name in ("dense", "norm")),
    ],
)
def test_the_regulariser_reaches_the_layers_that_are_named_and_no_others(layers):
    """Section 4.2 masks the gradient of all layers except one; "conv" is not "conv_1"."""
    single, double, x, y = scene()
    defense = DeepDefense(weight=1.0, c=2.0, d=1.0, steps=1, freeze_norm=False, regularised=layers)
    values, gradients = of_the_package(defense, single, x, y)
    wanted, slopes = of_the_paper(double, x, y, c=2.0, d=1.0, steps=1, regularised=layers)
    np.testing.assert_allclose(values["fragility"], wanted["regulariser"], rtol=RTOL)
    assert_same_gradients(gradients["fragility"], slopes["regulariser"], single, rtol=5 * RTOL)
    assert_same_gradients(gradients["cross_entropy"], slopes["cross_entropy"], single)


def test_scale_and_shift_of_batch_normalisation_are_held():
    """The authors fine-tune with both fixed: no term has a gradient by them, all others are as before."""
    single, double, x, y = scene()
    values, gradients = of_the_package(DeepDefense(weight=1.0, c=2.0, d=1.0, steps=1), single, x, y)
    wanted, slopes = of_the_paper(double, x, y, c=2.0, d=1.0, steps=1)
    np.testing.assert_allclose(values["fragility"], wanted["regulariser"], rtol=RTOL)
    for got, want in (("fragility", "regulariser"), ("cross_entropy", "cross_entropy")):
        held = [
            0 * slope if "norm" in variable.path else slope
            for variable, slope in zip(single.trainable_variables, slopes[want], strict=True)
        ]
        assert_same_gradients(gradients[got], held, single, rtol=5 * RTOL)


def test_nothing_that_the_net_stores_moves():
    """The statistics are those of the reference net, before and after."""
    single, _, x, y = scene()
    before = [v.numpy() for v in single.non_trainable_variables]
    of_the_package(DeepDefense(steps=1), single, x, y)
    for old, new in zip(before, single.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
