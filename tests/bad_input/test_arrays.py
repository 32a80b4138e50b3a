"""Images and labels that cannot be right are refused wherever they enter."""

import numpy as np
import pytest

import keras_adv
from tests.bad_input.tools import HINT, USES, complaint


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x * 255, ("`x`", "[0, 1]", HINT)),
        (lambda x: (x * 255).astype("uint8"), ("`x`", HINT)),
        (lambda x: 2 * x - 1, ("`x`", "[0, 1]")),
        (lambda x: np.where(x == x[3], np.nan, x), ("`x`", "1 images with NaN")),
        (lambda x: x[:, :7], ("`x`", "(N, 8, 8, 1)", "(12, 7, 8, 1)")),
        (lambda x: np.repeat(x, 3, axis=3), ("`x`", "(N, 8, 8, 1)", "(12, 8, 8, 3)")),
        (lambda x: x.reshape(12, 64), ("`x`", "(N, H, W, C)", "(12, 64)")),
        (lambda x: x[:0], ("`x`", "all four greater than 0", "shape (0, 8, 8, 1)")),
    ],
    ids=["0..255", "bytes", "-1..1", "NaN", "height", "colours", "flat", "none"],
)
def test_bad_images_are_refused_wherever_they_enter(use, spoil, words, plain, images):
    x, y = images
    text = complaint(USES[use], plain, spoil(x), y)
    assert all(word in text for word in words)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda y: np.eye(10)[y], ("`y`", "not one-hot rows", "y.argmax(axis=1)")),
        (lambda y: y + 0.5, ("`y`", "whole class numbers", "0.5")),
        (lambda y: y + 1, ("`y`", "0..9", "[1, 10]")),
        (lambda y: y - 1, ("`y`", "0..9", "[-1, 8]")),
        (lambda y: y[:5], ("`y`", "shape (12,)", "(5,)")),
    ],
    ids=["one-hot", "fractions", "beyond", "negative", "too few"],
)
def test_bad_labels_are_refused_wherever_they_enter(use, spoil, words, plain, images):
    x, y = images
    text = complaint(USES[use], plain, x, spoil(y))
    assert all(word in text for word in words)


def test_a_refused_training_leaves_the_weights_alone(plain, images):
    x, y = images
    before = [np.array(w) for w in plain.get_weights()]
    for bad in ((x * 255, y), (x, y + 1)):
        complaint(USES["defend"], plain, *bad)
    for old, new in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_refused_evaluation_leaves_the_model_usable(plain, images):
    x, y = images
    complaint(keras_adv.evaluate, plain, x[:, :7], y, [])
    assert np.isfinite(plain.predict(x, verbose=0)).all()
