"""Image sets that stay on disk: read, decoded and made one size as they are needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_adv import registry, validate
from keras_adv.fingerprint import fingerprint
from keras_adv.registry import Spec, option, register
from keras_adv.validate import InvalidInput

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")
MARGIN = 8 / 7
"""Shorter side of an image over that of the square that is cut out of it: ImageNet's usual 256 / 224."""
RESTRICTED = {
    "dog": range(151, 269),
    "cat": range(281, 286),
    "frog": range(30, 33),
    "turtle": range(33, 38),
    "bird": range(80, 101),
    "primate": range(365, 383),
    "fish": range(389, 398),
    "crab": range(118, 122),
    "insect": range(300, 320),
}
"""Restricted ImageNet: of ImageNet's 1,000 classes those that each of its nine holds (Tsipras et al.,
arXiv:1805.12152, table 4)."""


class ImageFiles:
    """Images on disk as a sequence of shape (N, size, size, 3): a slice is another such sequence, rows asked
    for by number, and `numpy.asarray` of the whole, are read as float32 in [0, 1].

    Each image is scaled so that its shorter side is 8/7 of `size` (bilinear, antialiased), and the square in
    its middle is cut out.

    Args:
        paths: of the files.
        size: side of the squares.

    Raises:
        InvalidInput: a file cannot be read, when its turn comes.
    """

    ndim = 4
    dtype = np.dtype("float32")

    def __init__(self, paths: Sequence[str] | np.ndarray, size: int) -> None:
        self.paths, self.size = np.asarray(paths), size

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, size, size, 3)."""
        return len(self), self.size, self.size, 3

    @property
    def identity(self) -> str:
        """What tells it from another: names, not contents."""
        return fingerprint(self.size, *map(str, self.paths))

    def __getitem__(self, rows: Any) -> Any:
        chosen = ImageFiles(np.atleast_1d(self.paths[rows]), self.size)
        if isinstance(rows, slice):
            return chosen
        return np.asarray(chosen)[0] if np.ndim(rows) == 0 else np.asarray(chosen)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import tensorflow as tf

        del copy  # it is always new
        made, row = np.empty(self.shape, dtype or self.dtype), -1
        stored = tf.data.Dataset.from_tensor_slices(self.paths.astype(str))
        read = stored.map(lambda path: load(path, self.size), tf.data.AUTOTUNE)
        try:
            for row, image in enumerate(read.as_numpy_iterator()):
                made[row] = image
        except tf.errors.OpError as error:
            found = f"{self.paths[row + 1]} ({error.message[:200]})"
            raise validate.unusable("data", "readable images", found) from error
        return made


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Makes of an image that cannot be read, in a graph of TensorFlow, an InvalidInput. TensorFlow does not
    say which it is."""
    try:
        yield
    except Exception as error:  # of TensorFlow's, which other trainings on JAX do not import
        message = str(getattr(error, "message", ""))
        if not any(name in message for name in ("DecodeImage", "ReadFile")):
            raise
        raise validate.unusable("x", "readable images", message[:200]) from error


def decoded(path: Any) -> Any:
    """The pixels (H, W, 3) of one file, uint8, in a graph of TensorFlow."""
    import tensorflow as tf

    return tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)


def load(path: Any, size: int) -> Any:
    """One image as `ImageFiles` gives it, in a graph of TensorFlow."""
    import tensorflow as tf

    raw = decoded(path)
    shape = tf.shape(raw)[:2]
    scale = MARGIN * size / tf.cast(tf.reduce_min(shape), "float32")
    scaled = tf.maximum(tf.cast(tf.round(scale * tf.cast(shape, "float32")), "int32"), size)
    image = tf.image.resize(tf.cast(raw, "float32") / 255.0, scaled, antialias=True)
    top, left = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    return tf.ensure_shape(
        tf.clip_by_value(image[top : top + size, left : left + size], 0.0, 1.0), [size, size, 3]
    )


def random_crop(path: Any, drawn: dict[str, Any], size: int) -> Any:
    """A square (size, size, 3) in [0, 1] out of the image of one file, in a graph of TensorFlow: of the area
    and sides that were drawn, as far as they fit into it."""
    import tensorflow as tf

    raw = decoded(path)
    whole = tf.cast(tf.shape(raw)[:2], "float32")
    area = drawn["area"] * whole[0] * whole[1]
    wanted = tf.stack([tf.sqrt(area / drawn["sides"]), tf.sqrt(area * drawn["sides"])])
    crop = tf.cast(tf.clip_by_value(tf.round(wanted), 1.0, whole), "int32")
    free = tf.cast(tf.shape(raw)[:2] - crop + 1, "float32")
    first = tf.cast(tf.minimum(tf.stack([drawn["row"], drawn["column"]]) * free, free - 1), "int32")
    part = raw[first[0] : first[0] + crop[0], first[1] : first[1] + crop[1]]
    part = tf.image.resize(tf.cast(part, "float32") / 255.0, [size, size], antialias=True)
    return tf.ensure_shape(tf.clip_by_value(part, 0.0, 1.0), [size, size, 3])


def in_graph(batches: Any) -> Any:
    """The batches of a `Batches` of `ImageFiles` as a tf.data.Dataset, read and decoded in parallel; a few
    batches at a time are in memory.

    Args:
        batches: whose `plan`, `labels` and `weights` count.
    """
    import tensorflow as tf

    files: ImageFiles = batches.images
    paths = tf.constant(files.paths.astype(str))
    parts = [tf.constant(part) for part in (batches.labels, batches.weights) if part is not None]
    plan, width = batches.variables(), batches.plan.rows.shape[1]

    def one(number: Any) -> Any:
        row, drawn = tf.nest.map_structure(lambda part: part[number // width, number % width], plan)
        any_size = "area" in drawn
        image = random_crop(paths[row], drawn, files.size) if any_size else load(paths[row], files.size)
        return image, drawn, *(part[row] for part in parts)

    def batch(images: Any, drawn: Any, *rest: Any) -> Any:
        return batches.augmented(images, drawn), *rest

    made = tf.data.Dataset.range(batches.plan.rows.size).map(one, tf.data.AUTOTUNE, deterministic=True)
    return made.batch(width, drop_remainder=True).map(batch).prefetch(1)


def in_order(files: ImageFiles, labels: np.ndarray, batch: int = 100) -> Any:
    """A tf.data.Dataset of batches (images, labels), in order: validation data, say."""
    import tensorflow as tf

    stored = tf.data.Dataset.from_tensor_slices((files.paths.astype(str), labels))
    read = stored.map(lambda path, y: (load(path, files.size), y), tf.data.AUTOTUNE, deterministic=True)
    return read.batch(batch).prefetch(1)


@register("images", "folder")
class Folder(Spec):
    """Images in folders, one for each class: path/train/<class>/*.jpg, and path/test/ or path/val/ alike.

    Classes are numbered in the order of their names, as ImageNet's synsets are. jpg, jpeg, png and bmp count.

    Args:
        path: the folder.
        size: side of the squares that images are made.
        classes: "all", or "restricted_imagenet": of ImageNet's 1,000 those of its nine animals
            (`image_files.RESTRICTED`).
    """

    kind = "images"
    path: str = option(default=".")
    size: int = option(default=224, low=4, high=4096)
    classes: str = option(default="all", choices=("all", "restricted_imagenet"))

    @classmethod
    def of(cls, source: str) -> Folder | None:
        """By its spec, or by its path; None for what is neither."""
        if source.startswith("folder("):
            made: Folder = registry.parse("images", source)
            return made
        return cls(path=source) if os.path.isdir(source) and not source.endswith(".npz") else None

    @property
    def title(self) -> str:
        """Name of the set."""
        stem = os.path.basename(os.path.abspath(self.path))
        return stem if self.classes == "all" else f"{self.classes}_{stem}"

    def splits(self) -> tuple[tuple[ImageFiles, np.ndarray], tuple[ImageFiles, np.ndarray]]:
        """((images, labels) for training, mixed the same way each time; those for testing).

        Raises:
            InvalidInput: no such folders, no images in them, or other classes in the second.
        """
        root = Path(self.path)
        names = sorted(entry.name for entry in _entries(root / "train") if entry.is_dir())
        if len(names) < 2:
            raise validate.unusable("data", "a folder of at least 2 classes", f"{names} in {root / 'train'}")
        if self.classes != "all" and len(names) != 1000:
            raise validate.unusable(
                "data", "the 1,000 classes of ImageNet", f"{len(names)} in {root / 'train'}"
            )
        second = root / "test" if (root / "test").is_dir() else root / "val"
        if others := sorted({e.name for e in _entries(second) if e.is_dir()} - set(names)):
            raise validate.unusable(
                "data", f"the classes of train/ in {second.name}/ too", f"also {others[:3]}"
            )
        (paths, labels), test = self._files(root / "train", names), self._files(second, names)
        order = np.random.default_rng(0).permutation(len(paths))
        mixed = [paths[row] for row in order]
        return (ImageFiles(mixed, self.size), labels[order]), (ImageFiles(test[0], self.size), test[1])

    def _files(self, folder: Path, names: list[str]) -> tuple[list[str], np.ndarray]:
        groups = enumerate(RESTRICTED.values())
        merged = {number: group for group, numbers in groups for number in numbers}
        paths, labels = list[str](), list[int]()
        for number, name in enumerate(names):
            label = number if self.classes == "all" else merged.get(number)
            if label is None or not (folder / name).is_dir():
                continue
            found = sorted(e.path for e in _entries(folder / name) if e.name.lower().endswith(ENDINGS))
            paths += found
            labels += [label] * len(found)
        if not paths:
            raise validate.unusable(
                "data", f"a folder of images ({', '.join(ENDINGS)}) a class", f"none in {folder}"
            )
        return paths, np.asarray(labels, "int32")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"`data` must be a folder with train/ and test/ or val/. Received: {error}"
        ) from error
