"""Files and names that hold no image set are refused with what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from keras_adv import data
from tests.bad_input.tools import HINT, complaint, in_the_middle

PIXELS = np.random.default_rng(0).random((12, 4, 4, 1)).astype("float32")
DIGITS = np.arange(12) % 3


def saved(path, **changes):
    """An npz of 12 training and 12 test images, some arrays changed (None: left out)."""
    arrays = {"x_train": PIXELS, "y_train": DIGITS, "x_test": PIXELS, "y_test": DIGITS, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def test_a_good_npz_is_read(tmp_path):
    made = data.load(saved(tmp_path / "good.npz"))
    assert made.name == "good" and made.shape == (4, 4, 1) and made.classes == 3
    assert [len(made.split(name)[0]) for name in ("train", "validation", "test")] == [11, 1, 12]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, ("`data`", "'x_train', 'y_train'", "without ['y_test']")),
        ({"x_train": None, "y_train": None}, ("`data`", "without ['x_train', 'y_train']")),
        ({"x_train": PIXELS.astype(object)}, ("`data`", "readable npz")),
        ({"x_train": PIXELS * 255}, ("`x_train`", HINT)),
        ({"x_train": (PIXELS * 255).astype("int64")}, ("`x_train`", HINT)),
        ({"x_train": PIXELS * np.nan}, ("`x_train`", "12 images with NaN")),
        ({"x_train": PIXELS.reshape(12, 16)}, ("`x_train`", "(N, H, W, C)", "(12, 16)")),
        ({"x_train": PIXELS[:0]}, ("`x_train`", "all four greater than 0")),
        ({"x_test": PIXELS[:, :3]}, ("`x_test`", "(N, 4, 4, 1)", "(12, 3, 4, 1)")),
        ({"x_test": PIXELS[:5]}, ("`y_test`", "shape (5,)")),
        ({"y_train": np.eye(3)[DIGITS]}, ("`y_train`", "one-hot", "y_train.argmax(axis=1)")),
        ({"y_train": DIGITS + 0.25}, ("`y_train`", "whole class numbers")),
        ({"y_test": DIGITS + 1}, ("`y_test`", "0..2", "[1, 3]")),
        ({"x_train": PIXELS[:1], "y_train": DIGITS[:1] + 2}, ("`data`", "more than one training image")),
        ({"y_train": np.array(["cat", "dog", "cow"])[DIGITS]}, ("`y_train`",)),
        ({"y_train": DIGITS * 0, "y_test": DIGITS * 0}, ("classes",)),
    ],
)  # fmt: skip
def test_npz_with_bad_arrays_is_refused(changes, words, tmp_path):
    text = complaint(data.load, saved(tmp_path / "bad.npz", **changes))
    assert all(word in text for word in words)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: b"no archive at all", id="text"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="half"),
        pytest.param(lambda raw: raw[:-1], id="last byte gone"),
        pytest.param(lambda raw: in_the_middle(raw, 255), id="bytes flipped"),
    ],
)
def test_damaged_npz_is_refused(spoil, tmp_path):
    path = Path(saved(tmp_path / "images.npz"))
    path.write_bytes(spoil(path.read_bytes()))
    text = complaint(data.load, str(path))
    assert text.startswith("`data` must be a readable npz file") and str(path) in text


def test_damaged_compressed_npz_is_refused(tmp_path):
    arrays = {"x_train": PIXELS, "y_train": DIGITS, "x_test": PIXELS, "y_test": DIGITS}
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    raw = (tmp_path / "small.npz").read_bytes()
    (tmp_path / "small.npz").write_bytes(raw[:120] + bytes(b ^ 255 for b in raw[120:124]) + raw[124:])
    assert "readable npz" in complaint(data.load, str(tmp_path / "small.npz"))


def test_a_bare_array_under_the_name_of_an_npz_is_refused(tmp_path):
    with (tmp_path / "images.npz").open("wb") as file:
        np.save(file, PIXELS)
    assert "npz" in complaint(data.load, str(tmp_path / "images.npz"))


@pytest.mark.parametrize("name", ["no.npz", "no/such/folder", "folder.npz"])
def test_npz_that_is_no_file_is_refused(name, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    text = complaint(data.load, str(tmp_path / name))
    assert "existing file" in text and str(tmp_path / name) in text


@pytest.mark.parametrize("validation", [-0.1, 1, float("nan"), "0.1", None])
def test_validation_share_outside_its_range_is_refused(validation):
    assert "`validation`" in complaint(data.load, "digits", validation)


@pytest.mark.parametrize("source", ["", None, 3, b"digits"])
def test_what_names_no_image_set_is_refused(source):
    assert "'digits', a TFDS name or FILE.npz" in complaint(data.load, source)


def test_unknown_split_is_answered_with_all_splits(digits):
    text = complaint(digits.split, "tset")
    assert "['train', 'validation', 'test']" in text and "Did you mean 'test'?" in text


@pytest.mark.parametrize(
    ("source", "near"), [("mnst", "'mnist'"), ("cifar_10", "'cifar10'"), ("digit", "'digits'")]
)
def test_unknown_image_set_is_answered_with_the_known_and_the_nearest(source, near, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.list_builders", lambda **_: ["mnist", "cifar10"])
    text = complaint(data.load, source)
    assert str(["digits", *data.TFDS_NAMES]) in text and text.endswith(f"Did you mean {near}?")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("no route\nto host"), OSError(), RuntimeError("Failed to fetch"), KeyError("train")],
)
@pytest.mark.parametrize("source", ["mnist", "svhn_cropped"])
def test_image_set_that_cannot_be_fetched_says_what_to_do_offline(source, error, monkeypatch):
    def unreachable(*_, **__):
        raise error

    monkeypatch.setattr("tensorflow_datasets.list_builders", lambda **_: ["mnist", "svhn_cropped"])
    monkeypatch.setattr("tensorflow_datasets.load", unreachable)
    text = complaint(data.load, source)
    for word in (repr(source), type(error).__name__, "Offline", "$TFDS_DATA_DIR", "--data=digits"):
        assert word in text
    assert "--data=FILE.npz with x_train, y_train, x_test, y_test" in text and "\n" not in text


def test_tfds_has_what_it_needs_to_look_up_a_builder():
    import tensorflow_datasets

    assert tensorflow_datasets.builder_cls("mnist").code_path
