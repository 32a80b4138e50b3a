"""A labelled image set, checked and classified once for all attacks on it."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import validate
from keras_adv.classifier import check_logits, check_model
from keras_adv.evaluation import answers, compiled
from keras_adv.evaluation.slots import in_batches
from keras_adv.losses import predicted_class

DRAWS = 20
"""Draws of a random net over which its clean logits are averaged."""


class ImageSet(NamedTuple):
    """What attacks on a data set start from (NumPy).

    Attributes:
        x: images (N, H, W, C), float32 in [0, 1].
        y: (N,) int32 labels.
        logits: (N, K) of the clean images; of a random net means over `DRAWS` draws.
        random: whether the net answers differently each time.
    """

    x: np.ndarray
    y: np.ndarray
    logits: np.ndarray
    random: bool = False

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: whether the clean image is classified as its label says."""
        return np.asarray(predicted_class(self.logits)) == self.y

    def take(self, rows: np.ndarray) -> ImageSet:
        """The set of these images alone."""
        return self._replace(x=self.x[rows], y=self.y[rows], logits=self.logits[rows])

    @property
    def classes(self) -> int:
        """Number of classes of the model."""
        return int(self.logits.shape[1])


def classify(model: keras.Model, x: Any, y: Any, batch_size: int, seed: int = 0) -> ImageSet:
    """Checks a model, images, labels and settings, and classifies the images.

    Cost: a forward pass an image (of a random net `DRAWS`), and 64 more.

    Raises:
        InvalidInput: as `keras_adv.attack`.
    """
    x, y = gathered(x, y)
    shape, classes = check_model(model, x)
    x = validate.images(x, shape=shape)
    y = validate.labels(y, len(x), classes)
    validate.number("batch_size", batch_size, low=1, whole=True)
    validate.seed(seed)
    random = answers.check(model, x)
    logits = _mean_logits(model, x, batch_size) if random else logits_of(model, x, batch_size)
    check_logits(logits)
    return ImageSet(x, y, logits, random)


def gathered(x: Any, y: Any, most: int | None = None) -> tuple[Any, Any]:
    """(images, labels), those of a `tf.data.Dataset` or `PyDataset` of batches (images, labels) put together;
    of these no more than the batches that hold the first `most` images.

    Raises:
        InvalidInput: labels beside a data set, one that does not end, or batches of something else.
    """
    if isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None:
            raise validate.unusable("x", "a PyDataset that knows its `num_batches`", "one without")
        batches: Any = (x[number] for number in range(x.num_batches))
    elif hasattr(x, "element_spec"):
        if x.cardinality() == -1:
            raise validate.unusable("x", "a data set that ends", "one that repeats for ever: take(n) cuts it")
        batches = x.as_numpy_iterator()
    else:
        return x, y
    if y is not None:
        raise validate.invalid("y", "None, as the data set `x` has the labels", y)
    parts, count = [], 0
    for part in batches:
        parts.append(part)
        count += len(part[1]) if isinstance(part, (tuple, list)) and len(part) > 1 and np.ndim(part[1]) else 1
        if most is not None and count >= most:
            break
    if not parts or any(not isinstance(part, (tuple, list)) or len(part) < 2 for part in parts):
        raise validate.unusable("x", "batches (images, labels)", f"{len(parts)} of something else")
    images, labels = ([np.asarray(part[place]) for part in parts] for place in (0, 1))
    join = np.concatenate if images[0].ndim == 4 else np.stack  # without batches: image by image
    return join(images), join(labels)


def logits_of(model: keras.Model, x: np.ndarray, batch_size: int) -> np.ndarray:
    """(N, K) as attacks see them. Cost: a forward pass an image."""
    run = compiled.logits(model)
    return in_batches(lambda part: (run(part),), batch_size, x)[0]


def _mean_logits(model: keras.Model, x: np.ndarray, batch_size: int) -> np.ndarray:
    """(N, K) means over `DRAWS` draws of a random net."""
    run = compiled.drawn_logits(model)
    draws = [np.int32(n) for n in range(DRAWS)]
    return np.mean([in_batches(lambda part, n=n: (run(part, n),), batch_size, x)[0] for n in draws], axis=0)
