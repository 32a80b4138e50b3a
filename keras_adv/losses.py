"""Losses of logits (B, K) and labels (B,): one value (B,) for each image, in float32.

Higher is nearer to a mistake; `margin` and `dlr` are positive exactly on mistakes.
"""

from __future__ import annotations

import keras
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y."""
    return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)


def log_odds_against(logits: Tensor, y: Tensor) -> Tensor:
    """log((1 - p_y) / p_y) = logsumexp_{j != y} z_j - z_y.

    Its softplus is the cross-entropy, with a gradient that float32 still holds at 1 - p_y = 1e-37, where that
    of `cross_entropy` is 0 from 6e-8 on.
    """
    hot = ops.one_hot(y, logits.shape[1], dtype="bool")
    return ops.logsumexp(ops.where(hot, -1e30, logits), axis=1) - pick(logits, y)


def predicted_class(logits: Tensor) -> Tensor:
    """(B,) int32: the class of the largest logit, the first of several."""
    # Keras ranks -0.0 below 0.0, NumPy does not
    return ops.cast(ops.argmax(ops.where(logits == 0, 0.0, logits), axis=1), "int32")


def hits(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) float32: 1 where the largest logit is that of the label, else 0."""
    return ops.cast(predicted_class(logits) == ops.cast(y, "int32"), "float32")


def pick(values: Tensor, index: Tensor) -> Tensor:
    """values[i, index[i]]: (B, K), (B,) -> (B,); for (B, K, ...) the (B, ...)."""
    hot = ops.one_hot(index, values.shape[1], dtype=values.dtype)
    hot = ops.reshape(hot, (-1, values.shape[1]) + (1,) * (len(values.shape) - 2))
    return ops.sum(values * hot, axis=1)


def largest_other(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} z_j."""
    hot = ops.one_hot(y, logits.shape[1], dtype="bool")
    return ops.max(ops.where(hot, -1e30, logits), axis=1)


def wrong_classes(logits: Tensor, y: Tensor) -> Tensor:
    """(B, K - 1) int32: the classes other than y, the likeliest first."""
    own = ops.one_hot(y, logits.shape[1], dtype="bool")
    order = ops.argsort(-ops.where(own, -1e30, logits), axis=1)
    return ops.cast(order[:, : logits.shape[1] - 1], "int32")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} z_j - z_y (Carlini & Wagner without the clamp)."""
    return largest_other(logits, y) - pick(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio, margin / (z_1st - z_3rd) (Croce & Hein, arXiv:2003.01690, eq. 6).

    Raises:
        InvalidInput: fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise validate.invalid("loss", "'cross_entropy' or 'margin' for fewer than 3 classes", "dlr")
    order = ops.sort(logits, axis=1)
    return margin(logits, y) / (order[:, -1] - order[:, -3] + 1e-12)


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """(z_t - z_y) / (z_1st - (z_3rd + z_4th) / 2) (arXiv:2003.01690, eq. 7).

    Raises:
        InvalidInput: fewer than 4 classes.
    """
    if logits.shape[1] < 4:
        raise validate.invalid(
            "loss", "'cross_entropy' or 'margin' for a target among fewer than 4 classes", "dlr"
        )
    order = ops.sort(logits, axis=1)
    spread = order[:, -1] - (order[:, -3] + order[:, -4]) / 2
    return (pick(logits, target) - pick(logits, y)) / (spread + 1e-12)


def kl_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """KL(p || q) = sum_k p_k (log p_k - log q_k), p = softmax(logits), q = softmax(other). Finite in
    float32."""
    log_p = ops.log_softmax(logits, axis=1)
    return ops.sum(ops.exp(log_p) * (log_p - ops.log_softmax(other, axis=1)), axis=1)


def multiclass_hinge(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j != y} max(0, 1 + z_j - z_y) (Crammer & Singer; thesis 3.19)."""
    return ops.maximum(0.0, 1.0 + margin(logits, y))
