"""What `defend` trains on: arrays, or whatever yields batches that Keras' `fit` takes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_adv import validate
from keras_adv.backend import IMAGES, in_graph, process
from keras_adv.batches import Batches, in_bytes
from keras_adv.data import ImageFiles, Split, image_files
from keras_adv.data.augmenting import AUGMENTS
from keras_adv.defenses import Defense
from keras_adv.fingerprint import fingerprint

LOOKED_AT = 100
"""Images on disk that a model is looked at with."""


class Feed:
    """Training data, checked.

    Attributes:
        steps: batches an epoch.
        sample: images and labels that are at hand: all of arrays, else the first batch.
        identity: what tells these data from others, for a checkpoint.
        options: for `fit`.
    """

    def __init__(self, source: Any, steps: int, sample: Split, identity: str, **options: Any) -> None:
        self.batches, self.steps, self.sample = source, steps, sample
        self.identity, self.options = identity, options

    @property
    def ordered(self) -> Batches | None:
        """The batches of arrays, whose order is set for each epoch."""
        return self.batches if isinstance(self.batches, Batches) else None

    @property
    def _on_disk(self) -> bool:
        return self.ordered is not None and isinstance(self.ordered.images, ImageFiles)

    def source(self) -> Any:
        """What `fit` iterates."""
        if self.ordered is None:
            return self.batches
        if self._on_disk:
            return image_files.in_graph(self.ordered)
        return in_graph(self.ordered, in_bytes(self.ordered.images))

    def some(self, count: int) -> Iterator[Split]:
        """Images and labels of so many batches, at most an epoch's."""
        batches: Any = self.source() if self._on_disk else self.batches  # augmented as they are read
        if isinstance(batches, keras.utils.PyDataset):
            batches = (self.batches[number] for number in range(self.steps))
        for batch in itertools.islice(iter(batches), min(count, self.steps)):
            images = batch[0][IMAGES] if isinstance(batch[0], dict) else batch[0]
            yield np.asarray(images), np.asarray(batch[1])


class Given:
    """Training data as `keras_adv.defend` was given them, whose arguments these are.

    Attributes:
        images: what the model may be looked at with: the images, or those of the first batch.

    Raises:
        InvalidInput: no kind of data that can be trained on.
    """

    def __init__(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Any, batch_size: int, steps: int | None
    ) -> None:
        self.x, self.y, self.sample_weight, self.class_weight = x, y, sample_weight, class_weight
        self.batch_size, self.steps = batch_size, steps
        self.first: tuple[Any, ...] | None = None
        if is_stream(x):
            for name, value in (("y", y), ("sample_weight", sample_weight)):
                if value is not None:
                    raise validate.unusable(name, "None with batches, which hold it", type(value).__name__)
            self.first, self.x = first_batch(x)
        elif y is None:
            allowed = "labels (N,), or `x` a tf.data.Dataset, a keras.utils.PyDataset or a generator"
            raise validate.invalid("y", allowed, None)
        given = x if self.first is None else self.first[0]
        given = np.asarray(given[:LOOKED_AT]) if isinstance(given, ImageFiles) else given
        self.images = validate.as_array("x", given, "images of shape (N, H, W, C)")

    @property
    def batch_rows(self) -> int:
        """Images of a step, those of the first batch of a stream."""
        return min(self.batch_size, len(self.x)) if self.first is None else len(self.images)

    def checked(
        self, defense: Defense, net: keras.Model, shape: tuple[int, ...], seed: int, augment: str
    ) -> Feed:
        """The data for a defense of a net of images of `shape`.

        Raises:
            InvalidInput: they do not fit.
        """
        classes = int(net.output_shape[-1])
        if self.first is not None and process()[1] > 1:
            raise validate.unusable("x", "arrays, where several processes train together", "batches")
        if self.first is not None:
            return self._stream(self.first, defense, shape, classes, augment)
        lazy = isinstance(self.x, ImageFiles)
        x: Any = self.x if lazy else validate.images(self.x, shape=shape)
        y = validate.labels(self.y, len(x), classes)
        if lazy:
            _check_files(x, defense, shape)
        weights = _weights(y, self.sample_weight)
        images, labels = defense.extend_data(net, x, y)
        if weights is not None and len(images) != len(x):
            allowed = f"None with {defense.name}, which adds images"
            raise validate.unusable("sample_weight", allowed, "weights")
        if self.class_weight is not None:
            by_class = _table(self.class_weight, classes)[labels]
            weights = by_class if weights is None else weights * by_class
        if augment == "resized_crop_flip" and not lazy:
            allowed = f"one of {list(AUGMENTS[:-1])} with arrays; the other is of images on disk"
            raise validate.invalid("augment", allowed, augment)
        rows = defense.batch_rows(labels)
        whole = len(images) // min(self.batch_size, len(images))
        if self.steps is not None and self.steps > whole:
            allowed = f"at most the {whole} batches of the images"
            raise validate.invalid("steps_per_epoch", allowed, self.steps)
        batches = Batches(
            (images, labels), self.batch_size, seed, augment, rows, weights, self.steps, defense.remembers
        )
        about = [x.identity if lazy else x, y, *([] if weights is None else [weights])]
        return Feed(batches, len(batches), (x, y), fingerprint(*about))

    def _stream(self, first: Any, defense: Defense, shape: Any, classes: int, augment: str) -> Feed:
        images = validate.images(first[0], shape=shape)
        labels = validate.labels(first[1], len(images), classes)
        if augment != "none":
            allowed = "'none' with batches, which are augmented where they are made"
            raise validate.invalid("augment", allowed, augment)
        if defense.needs_arrays or defense.batch_rows(labels) is not None:
            allowed = f"arrays for {defense.name}, which looks at the whole set"
            raise validate.unusable("x", allowed, "batches")
        known, options = _length(self.x), dict[str, Any]()
        if self.steps is None and known in (None, math.inf):
            allowed = "given for data that do not say how many they are"
            raise validate.invalid("steps_per_epoch", allowed, None)
        _weights(labels, first[2] if len(first) == 3 else None, "the weights of `x`")
        if self.class_weight is not None and (hasattr(self.x, "__next__") or len(first) == 3):
            allowed = "None with a generator, or with batches that have weights"
            raise validate.unusable("class_weight", allowed, "weights")
        if self.class_weight is not None:
            options["class_weight"] = dict(_class_weights(self.class_weight, classes))
        if self.steps is not None:
            options["steps_per_epoch"] = self.steps
        steps = int(self.steps or known or 0)
        identity = f"{steps} batches of a stream, weights of classes {options.get('class_weight')}"
        return Feed(self.x, steps, (images, labels), identity, **options)


def held_out(given: Any, shape: tuple[int, ...], classes: int) -> Any:
    """What `fit` takes as validation data: (images, labels) or (images, labels, weights), checked, or data
    that yield such batches, of which the first is."""
    if given is None:
        return None
    if is_stream(given) and not hasattr(given, "__next__"):
        if _length(given) == math.inf:
            raise validate.unusable("validation_data", "data with an end", "data without")
        (x, y, *rest), found = first_batch(given)
    elif isinstance(given, (tuple, list)) and len(given) in (2, 3):
        (x, y, *rest), found = given, None
    else:
        allowed = "(images, labels), (images, labels, weights) or a dataset"
        raise validate.invalid("validation_data", allowed, type(given).__name__)
    if isinstance(x, ImageFiles):
        if rest:
            raise validate.unusable("validation_data", "without weights, of images on disk", "weights")
        _check_shape("validation_data", x, shape)
        return x, validate.labels(y, len(x), classes, "validation_data")
    images = validate.images(x, "validation_data", shape)
    labels = validate.labels(y, len(images), classes, "validation_data")
    weights = [_weights(labels, one, "the weights of `validation_data`") for one in rest]
    return (images, labels, *weights) if found is None else found


def _check_shape(name: str, x: ImageFiles, shape: tuple[int, ...]) -> None:
    if x.shape[1:] != shape:
        wanted = f"images of shape (N, {', '.join(map(str, shape))})"
        raise validate.unusable(name, wanted, f"shape {x.shape}")


def _check_files(x: ImageFiles, defense: Defense, shape: tuple[int, ...]) -> None:
    """Raises InvalidInput where a defense or the processes need images in memory, or the net other ones."""
    _check_shape("x", x, shape)
    if process()[1] > 1:
        raise validate.unusable("x", "arrays, where several processes train together", "files")
    if defense.needs_arrays:
        allowed = f"arrays for {defense.name}, which looks at the whole set"
        raise validate.unusable("x", allowed, "files")


def validation(held: Any) -> Any:
    """What `fit` validates on: images on disk as batches."""
    lazy = isinstance(held, tuple) and isinstance(held[0], ImageFiles)
    return image_files.in_order(*held) if lazy else held


def is_stream(x: Any) -> bool:
    """Whether `x` yields batches, and is no array of images."""
    return hasattr(x, "__next__") or isinstance(x, keras.utils.PyDataset) or hasattr(x, "element_spec")


def first_batch(x: Any) -> tuple[tuple[Any, ...], Any]:
    """(the first batch of a stream, the stream with nothing taken from it).

    Raises:
        InvalidInput: it yields nothing, or something else than batches of images and labels.
    """
    if isinstance(x, keras.utils.PyDataset):
        return _batch(x[0]), x
    first = next(iter(x), None)
    if first is None:
        raise validate.unusable("x", "data with at least one batch", "none")
    return _batch(first), _again(first, x) if hasattr(x, "__next__") else x


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """A generator, which is what Keras takes."""
    yield first
    yield from rest


def _batch(given: Any) -> tuple[Any, ...]:
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        allowed = "batches of (images, labels) or (images, labels, weights)"
        raise validate.unusable("x", allowed, f"batches of {type(given).__name__}")
    return tuple(np.asarray(part) for part in given)


def _weights(y: np.ndarray, given: Any, name: str = "sample_weight") -> np.ndarray | None:
    """(N,) float32, or None. Raises InvalidInput."""
    if given is None:
        return None
    allowed = f"finite numbers of at least 0, of shape ({len(y)},)"
    weights = validate.as_array(name, given, allowed)
    if weights.size != len(y) or weights.dtype.kind not in "biuf":
        raise validate.unusable(name, allowed, f"{weights.dtype} of shape {weights.shape}")
    weights = weights.reshape(-1).astype("float32")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise validate.unusable(name, allowed, "numbers below 0 or not finite")
    return weights


def _table(given: Any, classes: int) -> np.ndarray:
    """(classes,) float32: the weight of each class."""
    table = np.ones(classes, "float32")
    for number, weight in _class_weights(given, classes).items():
        table[number] = weight
    return table


def _class_weights(given: Any, classes: int) -> Mapping[int, float]:
    if not isinstance(given, Mapping):
        raise validate.invalid("class_weight", "a dictionary of class numbers and weights", given)
    for number, weight in given.items():
        validate.number("class_weight", number, low=0, high=classes - 1, whole=True)
        validate.number(f"class_weight[{number}]", weight, low=0.0)
    return given


def _length(x: Any) -> float | None:
    """Batches of a stream: infinity without an end, None where it does not say."""
    if isinstance(x, keras.utils.PyDataset):
        return math.inf if x.num_batches is None else x.num_batches
    count = int(x.cardinality()) if hasattr(x, "cardinality") else -2
    return math.inf if count == -1 else None if count < 0 else count
