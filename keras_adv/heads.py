"""Heads with fixed class centres that lie as far apart as they can (Max-Mahalanobis centres)."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize

from keras_adv import noise, validate
from keras_adv.backend.pure import feature_layer

Tensor = Any


def simplex(classes: int, dim: int, scale: float = 1.0) -> np.ndarray:
    """(classes, dim) float64 rows of length `scale` whose largest pairwise cosine is the smallest possible.

    From dim = classes - 1 on these are the vertices of a regular simplex, every cosine -1 / (classes - 1), exact (Pang
    et al., arXiv:1802.09308; their code asks for dim >= classes, but the simplex spans one dimension less). In fewer
    dimensions there is none, and the largest cosine is minimised numerically.

    Args:
        classes: L, at least 2.
        dim: d, at least 2, or 1 for two classes.
        scale: C; 10 in arXiv:1905.10626.

    Raises:
        InvalidInput: one of them is out of its range.
    """
    validate.number("classes", classes, low=2, whole=True)
    validate.number("dim", dim, low=min(classes - 1, 2), whole=True)
    validate.number("scale", scale, above=0.0)
    return scale * (_regular if dim >= classes - 1 else _spread)(int(classes), int(dim))


@functools.lru_cache
def _regular(classes: int, dim: int) -> np.ndarray:
    centres = np.zeros((classes, dim))
    for k in range(classes - 1):
        centres[k, k] = np.sqrt(1.0 - np.sum(centres[k] ** 2))
        # the rows below are alike in this column, and the sum of all rows is 0
        centres[k + 1 :, k] = -centres[k, k] / (classes - 1 - k)
    return centres


@functools.lru_cache
def _spread(classes: int, dim: int) -> np.ndarray:
    """L-BFGS on log sum exp(t cos) / t with t growing, from three starts that are always the same."""

    def best(seed: int) -> np.ndarray:
        v = np.random.default_rng(seed).normal(size=classes * dim)
        for t in 4.0 ** np.arange(8):
            v = minimize(_crowding, v, (classes, t), jac=True, method="L-BFGS-B", options={"maxiter": 150}).x
        return _units(v, classes)[0]

    return min((best(seed) for seed in range(3)), key=largest_cosine)


def _units(v: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rows = v.reshape(classes, -1)
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / sizes, sizes


def _crowding(v: np.ndarray, classes: int, t: float) -> tuple[float, np.ndarray]:
    """(log sum_{i != j} exp(t cos_ij) / t, its gradient by v)."""
    u, sizes = _units(v, classes)
    z = t * (u @ u.T)
    np.fill_diagonal(z, -np.inf)
    p = np.exp(z - z.max())
    total, g = p.sum(), 2.0 * p @ u / p.sum()
    g = (g - np.sum(g * u, axis=1, keepdims=True) * u) / sizes
    return float(z.max() + np.log(total)) / t, g.ravel()


def largest_cosine(centres: np.ndarray) -> float:
    """max_{i != j} cos(mu_i, mu_j)."""
    u, _ = _units(centres, len(centres))
    return float((u @ u.T)[~np.eye(len(u), dtype=bool)].max())


class Centred(keras.layers.Layer):
    """Base of the heads: `centres` (classes, D) of length `scale`, saved with the model and never trained.

    Args:
        classes: number of logits, at least 2.
        scale: length C of the centres, above 0.
    """

    def __init__(self, classes: int, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        validate.number("classes", classes, low=2, whole=True)
        validate.number("scale", scale, above=0.0)
        self.classes, self.scale = classes, scale

    def build(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 2 or input_shape[1] is None:
            raise validate.fail("features", "of shape (B, D)", tuple(input_shape))
        centres = simplex(self.classes, input_shape[1], self.scale)
        self.centres = self.add_weight(
            name="centres",
            shape=centres.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(centres, dtype),
            trainable=False,
        )

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (input_shape[0], self.classes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "scale": self.scale}


@keras.saving.register_keras_serializable(package="keras_adv")
class MaxMahalanobisHead(Centred):
    """phi (B, D) -> logits phi . mu_k (B, classes), without bias: Manifold-Aware Training (sec. 3.3).

    All centres have one length, so the largest logit is the largest cosine.

    Args:
        classes: number of logits, at least 2.
        scale: length C of the centres, above 0.
    """

    def call(self, inputs: Tensor) -> Tensor:
        return ops.matmul(inputs, ops.transpose(self.centres))


@keras.saving.register_keras_serializable(package="keras_adv")
class CentreDistanceHead(Centred):
    """phi (B, D) -> logits -|phi - mu_k|_2^2 (B, classes): Pang et al., arXiv:1905.10626, in the form of their code.

    Differences are squared, not expanded into |phi|^2 - 2 phi . mu + C^2: that would lose the digits of a small
    distance.

    Args:
        classes: number of logits, at least 2.
        scale: length C of the centres, above 0; 10 in the paper.
    """

    def call(self, inputs: Tensor) -> Tensor:
        gaps = ops.expand_dims(inputs, 1) - ops.expand_dims(self.centres, 0)
        return -ops.sum(ops.square(gaps), axis=2)


def crown(net: keras.Model, head: Centred, dim: int | None) -> keras.Model:
    """A model of the layers of `net` up to "features", a linear layer of `dim` units, and `head`.

    The linear layer carries the name "features": it is what the head, attacks on features and exports see. Two layers
    of one model may not share a name, so what comes before stands inside it as one layer, the model "body" of the
    very layers of `net`. With dim=None the head sits on the layer "features" of `net` itself.

    Args:
        net: a model with a layer named "features"; what follows that layer is left out.
        head: a new head. A net that ends in one of this type is returned as it is.
        dim: D, the width of the linear layer, or None.

    Raises:
        InvalidInput: no layer "features", or dim=None on features that are never negative (a ReLU's): they reach only
            the first centre.
    """
    if type(net.layers[-1]) is type(head):
        return net
    features = feature_layer(net).output
    if len(features.shape) > 2:
        features = keras.layers.Flatten()(features)
    body = keras.Model(net.inputs, features, name="body")
    if dim is None:
        if not _takes_both_signs(body):
            raise validate.fail("dim", "a width: this net's features are never negative, centres are", dim)
        return keras.Model(net.inputs, head(features), name=net.name)
    inputs = keras.Input(net.input_shape[1:], name="images")
    linear = keras.layers.Dense(dim, name="features")
    return keras.Model(inputs, head(linear(body(inputs))), name=net.name)


def _takes_both_signs(body: keras.Model) -> bool:
    images = noise.uniform(noise.seeds(0, np.arange(16, dtype="uint32")), tuple(body.input_shape[1:]))
    return bool(np.asarray(body(images, training=False)).min() < 0)
