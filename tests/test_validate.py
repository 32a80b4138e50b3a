"""The one grammar of complaints, and what images, labels and numbers may be."""

import re

import numpy as np
import pytest

from keras_adv import InvalidInput, validate

GRAMMAR = re.compile(r"^`[^`]+` must .+ Received: .+", re.DOTALL)
X = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
Y = np.array([0, 1, 2, 3])
HINT = "Divide images of 0..255 by 255."


def complaint(call, *args, **kwargs):
    with pytest.raises(InvalidInput) as caught:
        call(*args, **kwargs)
    assert GRAMMAR.match(str(caught.value)), str(caught.value)
    return str(caught.value)


def test_a_complaint_is_a_value_error_that_names_what_is_allowed_and_what_came():
    error = validate.invalid("steps", "a positive integer", 0)
    assert isinstance(error, ValueError) and isinstance(error, InvalidInput)
    assert str(error) == "`steps` must be a positive integer. Received: steps=0"
    assert "'a\\nb'" in str(validate.invalid("name", "one word", "a\nb"))  # one line, whatever came


@pytest.mark.parametrize(
    ("value", "near"), [("cros_entropy", "'cross_entropy'"), ("Margin", "'margin'"), ("drl", "'dlr'")]
)
def test_unknown_word_is_answered_with_all_words_and_the_nearest(value, near):
    known = ("cross_entropy", "margin", "dlr")
    text = complaint(validate.one_of, "loss", value, known)
    assert str(list(known)) in text and repr(value) in text and text.endswith(f"Did you mean {near}?")


@pytest.mark.parametrize("value", ["zzzzzz", "", None, 7])
def test_no_word_is_suggested_where_none_is_near(value):
    assert "Did you mean" not in complaint(validate.one_of, "loss", value, ("margin", "dlr"))


def test_words_on_the_list_pass_also_from_a_generator():
    validate.one_of("loss", "dlr", (word for word in ("margin", "dlr")))
    validate.one_of("depth", 20, (20, 32))


@pytest.mark.parametrize(
    ("value", "limits", "words"),
    [
        (-1, {"low": 0}, "at least 0"),
        (1.01, {"low": 0, "high": 1}, "at least 0 and at most 1"),
        (0, {"above": 0}, "greater than 0"),
        (float("nan"), {"low": 0}, "at least 0"),
        (float("nan"), {"high": 0}, "at most 0"),
        (float("nan"), {}, "finite"),
        (np.float64("nan"), {"above": 0}, "greater than 0"),
        (float("-inf"), {"low": 0}, "at least 0"),
        (float("inf"), {"high": 1}, "at most 1"),
        (float("inf"), {}, "finite"),
    ],
)
def test_number_outside_its_limits_is_refused_with_every_limit(value, limits, words):
    text = complaint(validate.number, "eps", value, **limits)
    assert words in text and f"eps={value!r}" in text


@pytest.mark.parametrize(
    ("value", "limits"),
    [(0, {"low": 0}), (1, {"high": 1}), (1e-300, {"above": 0}), (0.5, {"low": 0, "high": 1}), (-5, {})],
)
def test_number_within_its_limits_passes(value, limits):
    validate.number("eps", value, **limits)


@pytest.mark.parametrize("value", ["3", None, [1], 1j, True])
def test_what_is_no_number_is_refused_as_bad_input(value):
    complaint(validate.number, "epochs", value, low=1)


@pytest.mark.parametrize(
    "x",
    [X, X.astype("float64"), X.astype("float16"), X > 0.5, X.tolist()],
    ids=["float32", "float64", "float16", "bool", "lists"],
)
def test_good_images_become_float32_of_the_same_value(x):
    made = validate.images(x, shape=(8, 8, 1))
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.asarray(x, "float32"))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X[..., 0], "(4, 8, 8)"),
        (X[0], "(8, 8, 1)"),
        (X[:0], "all four greater than 0"),
        (None, "(N, H, W, C)"),
        ({}, "(N, H, W, C)"),
        (X.astype(object), "(N, H, W, C)"),
        (X - 0.5, "[0, 1]"),
        (X * 2, HINT),
        (X * 255, HINT),
        ((X * 255).astype("uint8"), HINT),
        ((X * 255).astype("int64"), HINT),
        ((X > 0.5).astype("uint8"), "x.astype('float32') says the former"),
        ((X > 0.5).astype("int64"), "int64 values of at most 1"),
        (np.where(np.arange(4).reshape(4, 1, 1, 1) == 2, np.nan, X), "1 images with NaN"),
        (np.where(np.arange(4).reshape(4, 1, 1, 1) < 2, np.inf, X), "2 images with NaN or inf"),
        ([[1.0, 2.0], [3.0]], "shape"),
        (np.full((2, 2, 2, 1), "a"), "images"),
        (np.zeros((2, 0, 8, 1)), "shape"),
    ],
)
def test_bad_images_are_refused(x, words):
    assert words in complaint(validate.images, x)


def test_images_of_minus_one_to_one_get_no_advice_to_divide_by_255():
    text = complaint(validate.images, 2 * X - 1)
    assert HINT not in text and "[-0." in text


def test_images_of_another_shape_are_told_both_shapes():
    text = complaint(validate.images, X, "x_test", (28, 28, 1))
    assert text.startswith("`x_test`") and "(N, 28, 28, 1)" in text and "(4, 8, 8, 1)" in text


@pytest.mark.parametrize(
    "y",
    [Y, Y.astype("uint8"), Y.astype("float32"), Y[:, None], Y.tolist()],
    ids=["int", "bytes", "whole floats", "column", "list"],
)
def test_good_labels_become_int32_rows(y):
    made = validate.labels(y, 4, 4)
    assert made.dtype == np.int32 and made.shape == (4,)
    np.testing.assert_array_equal(made, Y)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.eye(4), "y.argmax(axis=1)"),
        (np.eye(4, dtype="int32"), "not one-hot rows"),
        (Y + 0.5, "[0.5, 1.5, 2.5]"),
        (Y[:3], "shape (4,)"),
        (3, "shape (4,)"),
        (None, "shape (4,)"),
        (Y - 1, "0..3"),
        (Y + 1, "0..3"),
        (Y + 2**32, "whole class numbers"),  # would wrap around to 0..3
        (np.array(["0", "1", "2", "3"]), "integer labels"),
        (Y.astype(object), "integer labels"),
        (np.array(["cat", "dog", "cat", "dog"]), "integer labels"),
        ([[1], [2, 3], [1], [0]], "shape"),
    ],
)
def test_bad_labels_are_refused(y, words):
    assert words in complaint(validate.labels, y, 4, 4)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_labels_that_are_not_finite_are_refused(value):
    assert "whole class numbers" in complaint(validate.labels, np.array([0, value, 1, 2]), 4, 4)


def test_labels_without_a_known_count_of_classes_need_only_be_natural_numbers():
    np.testing.assert_array_equal(validate.labels(Y + 1000, 4), Y + 1000)
    text = complaint(validate.labels, Y - 1, 4, name="y_train")
    assert text.startswith("`y_train` must be class numbers 0.") and ".." not in text


def test_a_message_is_one_line_of_bounded_length_whatever_came():
    for value in ("a\nb" * 10_000, "\x1b[31mred", list(range(10**5))):
        text = complaint(validate.one_of, "name", value, ["a", "b"])
        assert len(text) <= validate.LONGEST and text.isprintable()
    long = complaint(validate.one_of, "name", "x50000", [f"x{i}" for i in range(10_000)])
    assert "'x5000'" in long and "10000 in all" in long
    assert len(long) <= validate.LONGEST


def test_of_many_allowed_words_the_nearest_are_shown():
    text = complaint(validate.one_of, "name", "word_77x", [f"word_{i}" for i in range(100)])
    assert "'word_77'" in text and "100 in all" in text
