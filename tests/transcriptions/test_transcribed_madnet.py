"""MadNet against a second writing of its paper (madnet.py), on a net with batch normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_adv import noise
from keras_adv.backend import Net
from keras_adv.defenses.mad import MAD
from tests.transcriptions import madnet
from tests.transcriptions.small_net import (
    CLASSES,
    RTOL,
    assert_same_gradients,
    images,
    package_values_and_gradients,
    twins,
)

NAMES = {"cross_entropy": "cross_entropy", "siamese": "siamese", "variance": "rvl", "jacobian": "jacobian"}
"""The package's names of the terms, and the transcription's."""

EVERY_CLASS = ([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0])
A_SMALL_BATCH = ([0, 1, 2, 2], [1, 1, 0, 2])
ONE_CLASS_MISSING = ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2])
ONE_IMAGE_ALONE = ([0, 0, 1, 1, 1, 2], [2, 0, 1, 1, 0, 2])
"""Labels of the first images of some pairs, and of their partners; some are of the same class, some of
another."""


def assert_same(name, labels, projections=1, **options):
    """One term of the package, its mean and its gradient, are the transcription's; its lambda is 1."""
    single, double = twins(seed=5)
    y = np.stack(labels, axis=1).ravel().astype("int32")  # each followed by its partner
    x = images(6, len(y))
    defense = MAD(siamese=1.0, variance=1.0, jacobian=1.0, projections=projections, **options)
    nets, batch = {"net": Net(single)}, {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}
    batch |= defense.prepare(nets, batch["x"], batch["y"], noise.fold(np.uint32(0), 1))
    values, gradients = package_values_and_gradients(
        lambda: defense.moves()[0].loss(nets, batch), single, (name,)
    )

    both = keras.Model(double.inputs, [double.get_layer("features").output, double.output])
    how = {key: options[key] for key in ("alpha", "squared", "jacobian_of") if key in options}
    if projections is not None and name == "jacobian":
        v = batch["directions"].numpy().astype("float64")
        how["directions"] = (v[::2], v[1::2])
    rows = 1
    if projections is None and name == "jacobian":  # every row, each image's with a sign of its own
        rows = 4 if options.get("jacobian_of") == "embedding" else CLASSES
        v = batch["signs"].numpy().astype("float64")[:, :, None] * np.eye(rows)
        how["directions"] = (v[::2], v[1::2])
    x1, x2 = (tf.constant(x[k::2].astype("float64")) for k in (0, 1))
    wanted, slopes = madnet.value_and_gradients(
        NAMES[name], double.trainable_variables, both, x1, y[::2], x2, y[1::2], CLASSES, **how
    )
    # the transcription means over the directions, |J|_F sums over the rows
    np.testing.assert_allclose(values[name].mean(), np.sqrt(rows) * wanted, rtol=RTOL)
    slopes = [None if slope is None else np.sqrt(rows) * slope for slope in slopes]
    assert_same_gradients(gradients[name], slopes, single)


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_the_paper(name):
    """L_MAD of section 3.2 with the absolute siamese loss of algorithm 1, term by term."""
    labels = A_SMALL_BATCH if name == "jacobian" else EVERY_CLASS
    assert_same(name, labels, projections=None)


@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_the_targets_are_smoothed_as_in_appendix_f(alpha):
    assert_same("cross_entropy", EVERY_CLASS, alpha=alpha)


def test_the_siamese_loss_of_section_3_2_is_the_square():
    assert_same("siamese", EVERY_CLASS, squared=True)


@pytest.mark.parametrize("labels", [ONE_CLASS_MISSING, ONE_IMAGE_ALONE])
def test_rvl_is_divided_by_the_number_of_classes_whatever_the_batch_holds(labels):
    """Equation 4 is a mean over the M classes: one that is absent, or has one image, has sigma = 0."""
    assert_same("variance", labels)


@pytest.mark.slow
def test_the_drawn_jacobian_is_that_of_its_directions():
    """With |J|_F^2 = E |J'v|^2: of several draws the root of the mean square."""
    assert_same("jacobian", A_SMALL_BATCH, projections=2)


@pytest.mark.slow
def test_the_jacobian_of_the_embedding_is_that_of_section_3_1():
    assert_same("jacobian", A_SMALL_BATCH, projections=None, jacobian_of="embedding")
