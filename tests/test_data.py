import numpy as np
import pytest

from keras_adv import InvalidInput, data
from keras_adv.models import normalizer


def test_digits_are_real_and_split_without_overlap(digits):
    parts = [digits.train, digits.validation, digits.test]
    assert sum(len(x) for x, _ in parts) == 1797 and digits.shape == (8, 8, 1) and digits.classes == 10
    from sklearn.datasets import load_digits

    everything = {image.astype("float32").tobytes() for image in load_digits().images / 16}
    seen = [image.tobytes() for x, _ in parts for image in x]
    assert set(seen) == everything and len(seen) == len(set(seen))
    assert min(np.bincount(digits.test[1], minlength=10)) >= 25


def test_validation_never_comes_from_test(tmp_path):
    x = np.arange(40, dtype="float32").reshape(40, 1, 1, 1) / 40
    np.savez(
        tmp_path / "set.npz",
        x_train=x[:30],
        y_train=np.arange(30) % 3,
        x_test=x[30:],
        y_test=np.arange(10) % 3,
    )
    loaded = data.load(str(tmp_path / "set.npz"), validation=0.2)
    assert len(loaded.train[0]) == 24 and len(loaded.validation[0]) == 6
    assert loaded.validation[0].max() < loaded.test[0].min() and loaded.name == "set"


def test_bytes_become_floats_and_grey_images_get_a_channel(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 5, 5), dtype="uint8")
    y = np.arange(12) % 4
    np.savez(tmp_path / "b.npz", x_train=x, y_train=y[:, None], x_test=x, y_test=y)
    loaded = data.load(str(tmp_path / "b.npz"))
    assert loaded.shape == (5, 5, 1) and loaded.train[1].shape == (11,)
    np.testing.assert_allclose(loaded.test[0][..., 0], x / 255, rtol=1e-6)


def test_statistics_are_of_the_training_images(digits):
    assert digits.sample() is digits.train[0]


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_splits_by_name(name, digits):
    assert digits.split(name) is getattr(digits, name)


def saved(folder, x, y):
    path = folder / "set.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return str(path)


def test_labels_that_no_set_has_are_refused(tmp_path):
    x, y = np.zeros((12, 4, 4, 1), "float32"), (np.arange(12) % 3) * 10**9
    with pytest.raises(InvalidInput, match="`y_train` must be class numbers that fit 12 images"):
        data.load(saved(tmp_path, x, y))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_with_channels_first_are_refused_with_the_way_out(channels, tmp_path):
    x = np.zeros((20, channels, 28, 28), "float32")
    with pytest.raises(InvalidInput, match=r"x\.transpose\(0, 2, 3, 1\)"):
        data.load(saved(tmp_path, x, np.arange(20) % 3))


def test_whole_numbers_of_0_and_1_are_not_guessed_at(tmp_path):
    x = (np.arange(20 * 16).reshape(20, 4, 4, 1) % 2).astype("uint8")
    with pytest.raises(InvalidInput, match="almost black"):
        data.load(saved(tmp_path, x, np.arange(20) % 3))
    assert data.load(saved(tmp_path, x.astype("float32"), np.arange(20) % 3)).train[0].max() == 1.0


def test_statistics_of_many_images_keep_count():
    """float32 sums of so many pixels would stop growing."""
    images = np.full((3000, 64, 64, 1), 0.47, "float32")
    images[::2] += 0.1
    layer = normalizer("standard", images)
    assert float(layer(images[1:2])[0, 0, 0, 0]) == pytest.approx(-1.0, rel=1e-4)
