"""Image sets as arrays in [0, 1]: "digits" (embedded), TFDS names, npz files; and folders, left on disk."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_adv import foreign, validate
from keras_adv.data.image_files import Folder, ImageFiles
from keras_adv.validate import InvalidInput

TFDS_NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100")
CLASSES_AN_IMAGE = 100
"""More classes than so many times the images are taken for damaged labels."""
Split = tuple[Any, np.ndarray]
"""Images, as an array or as `ImageFiles`, and labels."""


class Data(NamedTuple):
    """A data set: images float32 (N, H, W, C) in [0, 1], as arrays or as `ImageFiles`, and labels int32 (N,).

    The validation split is the end of the training images, never test images.
    """

    name: str
    train: Split
    validation: Split
    test: Split

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        h, w, c = self.train[0].shape[1:]
        return h, w, c

    @property
    def classes(self) -> int:
        """Number of classes of the training labels."""
        return int(self.train[1].max()) + 1

    def sample(self) -> np.ndarray:
        """The training images (on disk: 1,000 of them), of which statistics are taken."""
        images = self.train[0]
        return np.asarray(images[:1000] if isinstance(images, ImageFiles) else images)

    def split(self, name: str) -> Split:
        """("train" | "validation" | "test") -> (images, labels)."""
        validate.one_of("split", name, ("train", "validation", "test"))
        chosen: Split = getattr(self, name)
        return chosen


def load(source: str, validation: float = 0.1) -> Data:
    """Loads an image set.

    Args:
        source: "digits" (scikit-learn's 1,797 real 8x8 digits; nothing is downloaded), the name of an image
            classification set of TensorFlow Datasets ("mnist", "cifar10", ...), FILE.npz with x_train,
            y_train, x_test, y_test (uint8 0..255 or floats in [0, 1]), or a folder of images, whose images
            stay on disk: its path, or "folder(path='imagenet', size=224)".
        validation: share of the training images that becomes the validation split; with 0 it is empty.

    Raises:
        InvalidInput: unknown name, unreadable file, images outside [0, 1], labels that do not fit.
    """
    if not isinstance(source, str) or not source:
        raise validate.invalid("data", "'digits', a TFDS name or FILE.npz, or a folder", source)
    validate.number("validation", validation, low=0.0, high=0.9)
    if source not in ("digits", *TFDS_NAMES) and (folder := Folder.of(source)):
        return _held_out(folder.title, *folder.splits(), validation)
    if source == "digits":
        train, test = _digits()
    elif source.endswith(".npz") or os.sep in source:
        train, test = _npz(Path(source))
    else:
        train, test = _tfds(source)
    train = _checked(train, "train")
    test = _checked(test, "test", int(train[1].max()) + 1, train[0].shape[1:])
    if train[1].max() < 1:
        raise validate.unusable("y_train", "of at least 2 classes", "class 0 alone")
    return _held_out(Path(source).stem if source.endswith(".npz") else source, train, test, validation)


def _held_out(name: str, train: Split, test: Split, validation: float) -> Data:
    x, y = train
    held = max(1, round(len(x) * validation)) if validation else 0
    rest = len(x) - held
    if not rest:
        raise validate.invalid("data", "more than one training image", name)
    return Data(name, (x[:rest], y[:rest]), (x[rest:], y[rest:]), test)


def _checked(split: Split, name: str, classes: int | None = None, shape: Any = None) -> Split:
    x, y = split
    if x.ndim == 3:
        x = x[..., None]
    if x.ndim == 4 and validate.channels_first(x.shape[1:]):
        raise validate.unusable(
            f"x_{name}",
            "images of shape (N, H, W, C)",
            f"shape {x.shape}, which looks like (N, C, H, W): x.transpose(0, 2, 3, 1) puts the channels last",
        )
    if x.dtype == np.uint8 and x.size and x.max() > 1:
        x = x.astype("float32") / 255
    x = validate.images(x, f"x_{name}", shape)
    y = validate.labels(y, len(x), classes, f"y_{name}")
    if y.max() >= CLASSES_AN_IMAGE * len(y):
        raise validate.unusable(f"y_{name}", f"class numbers that fit {len(y)} images", f"a class {y.max()}")
    return x, y


def _digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits

    raw = load_digits()
    x, y = (raw.images / 16.0).astype("float32")[..., None], raw.target.astype("int32")
    order = np.random.default_rng(0).permutation(len(x))  # the same split for everybody
    return (x[order[:1437]], y[order[:1437]]), (x[order[1437:]], y[order[1437:]])


def _npz(path: Path) -> tuple[Split, Split]:
    names = ("x_train", "y_train", "x_test", "y_test")
    if not path.is_file():
        raise InvalidInput(f"`data` must be an existing file. Received: {str(path)!r}")
    with foreign.reading("data", "a readable npz file", path):
        foreign.check_npz(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InvalidInput(f"`data` must hold {list(names)}. Received: {path} without {missing}")
    train = (arrays["x_train"], arrays["y_train"])
    return train, (arrays["x_test"], arrays["y_test"])


def _tfds(name: str) -> tuple[Split, Split]:
    import tensorflow_datasets as tfds

    _known_to_tfds(name)
    with _loading(name):
        loaded = tfds.load(name, split=["train", "test"], batch_size=-1, as_supervised=True)
        train, test = [(np.asarray(x), np.asarray(y)) for x, y in tfds.as_numpy(loaded)]
    return train, test


def tfds_builder(name: str) -> Any:
    """The builder of a set of TensorFlow Datasets, whose files are there or were downloaded now.

    Raises:
        InvalidInput: no such set, or one that could not be loaded.
    """
    import tensorflow_datasets as tfds

    _known_to_tfds(name)
    with _loading(name):
        builder = tfds.builder(name)
        builder.download_and_prepare()
    return builder


def _known_to_tfds(name: str) -> None:
    import tensorflow_datasets as tfds

    known = ["digits", *TFDS_NAMES]
    if name not in known and re.split("[/:]", name)[0] not in tfds.list_builders():
        validate.one_of("data", name, known)


@contextlib.contextmanager
def _loading(name: str) -> Iterator[None]:
    """Makes an InvalidInput of whatever TFDS raises: what its transport raised."""
    try:
        yield
    except Exception as error:
        raise InvalidInput(
            f"`data` {name!r} could not be loaded by TensorFlow Datasets ({type(error).__name__}: "
            f"{str(error).splitlines()[0][:200] if str(error) else 'no message'}). Offline, put "
            "the set into $TFDS_DATA_DIR, or pass --data=FILE.npz with x_train, y_train, x_test, y_test, or "
            "--data=digits."
        ) from error
