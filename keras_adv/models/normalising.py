"""What images in [0, 1] go through before a network: plain Keras layers, made from the training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor

NORMALIZE = ("none", "standard", "centre", "mean_image", "gcn_zca", "matconvnet")
"""See `normalizer`."""
LENGTH = 55.0
"""Norm of an image after global contrast normalisation."""
FILTER_BIAS = 0.1
"""Added to the covariance of images of that norm before it is inverted."""
FLOOR, DEVIATION = 10.0, 40.0
"""Of MatConvNet: least deviation along a direction, and least one of an image, in units of 0..255."""
WIDEST = 4096
"""Most values of an image that is whitened: the matrix has their square."""
_CHUNK = 4096

Normalizer = Callable[[Tensor], Tensor]
"""Images (B, H, W, C) in [0, 1] -> what the network takes, (B, H, W, C)."""


def normalizer(name: str, images: np.ndarray) -> Normalizer | None:
    """The layers that bring images in [0, 1] into a paper's form, with statistics of these images.

    Attacks and their eps stay in [0, 1], and gradients go through the layers, which are not trained: what is
    saved takes images in [0, 1]. They are Keras' own, so it loads without this package.

    "none": None. "standard": (x - mean) / deviation, one number each a channel. "centre": x - 0.5 (MadNet).
    "mean_image": 255 (x - m), m the mean image (Deep Defense, MNIST, whose pixels are 0..255).

    "gcn_zca": global contrast normalisation g = 55 c / |c|_2, c = x less its own mean over all pixels and
    channels, then W (g - mean g), W = U (S + 0.1)^(-1/2) U', U S U' the covariance of g: ZCA. Thesis 3.5
    names both without constants; these are pylearn2's for CIFAR-10. |c| counts as 1/255 at least.

    "matconvnet": MatConvNet's CIFAR-10, the data of Deep Defense. z = 255 (x - m), c = z less its own mean, n
    its deviation (over D - 1), then W c (mean n) / max(n, 40), W = V diag(e / max(d, 10)) V', V diag(d^2) V'
    the second moments of that and e^2 the mean of d^2. Mean n and the moments are of these images; the
    authors' also saw the test images.

    Args:
        name: one of `NORMALIZE`.
        images: training images (N, H, W, C) in [0, 1].

    Cost: whitening takes the second moments and an eigendecomposition of D x D, D = H W C, and D^2
    multiplications an image in the net. Of 32x32x3 the matrix has 38 MB in a file, 19 MB in float16.

    Raises:
        InvalidInput: unknown name; more than 4,096 values an image, to be whitened.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).random((50, 4, 4, 1), "float32")
    >>> np.asarray(normalizer("centre", x)(x)).min().round(1)
    np.float32(-0.5)
    """
    validate.one_of("normalize", name, NORMALIZE)
    if name in _WHITENING:
        if (values := math.prod(images.shape[1:])) > WIDEST:
            allowed = f"a name without whitening for images of more than {WIDEST:,} values"
            raise validate.unusable("normalize", allowed, f"{name!r} for {values:,}")
        return _WHITENING[name](images)
    if name == "standard":
        pixels = images.reshape(-1, images.shape[-1])
        mean = pixels.mean(0, dtype="float64")  # float32 would lose count among 50,000 images
        square = [
            np.mean(np.square(channel - m), dtype="float64")
            for channel, m in zip(pixels.T, mean, strict=True)
        ]
        return standard(mean.tolist(), np.maximum(np.sqrt(square), 1e-3).tolist())
    if name == "mean_image":
        return less(_mean(images), "normalize")
    return None if name == "none" else keras.layers.Rescaling(1.0, offset=-0.5, name="normalize")


def standard(mean: Sequence[float], std: Sequence[float]) -> Normalizer:
    """(x - mean) / std, a value a channel."""
    variance = [float(s) ** 2 for s in std]
    return keras.layers.Normalization(mean=[float(m) for m in mean], variance=variance, name="normalize")


def less(mean: np.ndarray, name: str | None = None) -> Normalizer:
    """255 (x - mean), of a mean image (H, W, C)."""

    def run(x: Tensor) -> Tensor:
        layer = keras.layers.EinsumDense(
            "bhwc,hwc->bhwc",
            mean.shape,
            bias_axes="hwc",
            kernel_initializer="ones",
            trainable=False,
            name=name,
        )
        layer.build((None, *mean.shape))
        layer.set_weights([np.full_like(mean, 255.0), -255.0 * mean])
        return layer(x)

    return run


def _gcn_zca(images: np.ndarray) -> Normalizer:
    def contrast(x: Tensor) -> Tensor:
        c, square = _centred(x)
        return LENGTH * c * ops.rsqrt(ops.maximum(square, 1 / 255**2))

    rows = _rows(contrast, images)
    mean = rows.mean(0, dtype="float64")
    variances, directions = np.linalg.eigh(_moments(rows, mean))
    matrix = (directions / np.sqrt(np.maximum(variances, 0.0) + FILTER_BIAS)) @ directions.T
    return lambda x: _whitened(contrast(x), matrix, mean)


def _matconvnet(images: np.ndarray) -> Normalizer:
    shape = images.shape[1:]
    free, zero = math.prod(shape) - 1, less(_mean(images))

    def deviation(square: Tensor) -> Tensor:
        return ops.sqrt(square / free)

    def deviations(x: Tensor) -> Tensor:
        return deviation(_centred(zero(x))[1])

    usual = float(_rows(deviations, images).mean(dtype="float64"))

    def contrast(x: Tensor) -> Tensor:
        c, square = _centred(zero(x))
        return c * (usual / deviation(ops.maximum(square, free * DEVIATION**2)))

    squares, directions = np.linalg.eigh(_moments(_rows(contrast, images), 0.0))
    squares = np.maximum(squares, 0.0)
    length = np.sqrt(squares.mean())
    matrix = (directions * (length / np.maximum(np.sqrt(squares), FLOOR))) @ directions.T
    return lambda x: _whitened(contrast(x), matrix, np.zeros(free + 1))


_WHITENING = {"gcn_zca": _gcn_zca, "matconvnet": _matconvnet}


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """(each image less its own mean, the sum of the squares of that (B, 1, 1, 1))."""
    c = x - ops.mean(x, axis=(1, 2, 3), keepdims=True)
    return c, ops.sum(ops.square(c), axis=(1, 2, 3), keepdims=True)


def _whitened(x: Tensor, matrix: np.ndarray, mean: np.ndarray) -> Tensor:
    """`matrix` (x - mean), of a symmetric matrix; shaped as x."""
    layer = keras.layers.Dense(len(matrix), kernel_initializer="zeros", trainable=False, name="whiten")
    layer.build((None, len(matrix)))
    layer.set_weights([matrix.astype("float32"), (-matrix @ mean).astype("float32")])
    made = layer(keras.layers.Flatten(data_format="channels_last")(x))
    return keras.layers.Reshape(tuple(x.shape[1:]), name="normalize")(made)


def _mean(images: np.ndarray) -> np.ndarray:
    return images.mean(0, dtype="float64").astype("float32")


def _rows(run: Normalizer, images: np.ndarray) -> np.ndarray:
    """(N, D) what `run` makes of the images."""
    parts = (images[k : k + _CHUNK] for k in range(0, len(images), _CHUNK))
    return np.concatenate([np.asarray(run(ops.convert_to_tensor(p))).reshape(len(p), -1) for p in parts])


def _moments(rows: np.ndarray, mean: np.ndarray | float) -> np.ndarray:
    """(D, D) mean products of the rows less `mean`."""
    found = np.zeros((rows.shape[1], rows.shape[1]))
    for k in range(0, len(rows), _CHUNK):
        part = (rows[k : k + _CHUNK] - mean).astype("float32")
        found += part.T @ part
    return found / len(rows)
