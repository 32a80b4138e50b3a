"""How features of classes lie: the angle between two, and how far those of a class spread."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import TINY, Tensor, l2_norm


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B,) cosines of rows (B, F); 0, with gradient 0, where a row is 0."""
    size = l2_norm(a) * l2_norm(b)
    return ops.where(size > 0, ops.sum(a * b, axis=1) / ops.where(size > 0, size, 1.0), 0.0)


def spread(z: Tensor, y: Tensor, classes: int, form: str = "mean", weight: Tensor | None = None) -> Tensor:
    """(B,) whose mean over the batch is the reduced-variance loss of features z (B, F): see `rvl` of `MAD`.
    Of images with a weight (B,) the means of a class are weighted ones."""
    y = ops.cast(y, "int32")
    weight = ops.ones_like(z[:, 0]) if weight is None else weight
    hot = ops.one_hot(y, classes, dtype="float32")
    total = ops.maximum(ops.sum(weight[:, None] * hot, axis=0), TINY)

    def mean(v: Tensor) -> Tensor:
        return ops.segment_sum(weight[:, None] * v, y, num_segments=classes) / total[:, None]

    away = z - ops.take(mean(z), y, axis=0)
    share = ops.cast(ops.shape(z)[0], "float32") * weight / ops.take(total, y)
    share = ops.where(ops.take(ops.sum(hot, axis=0), y) > 1, share, 0.0)
    if form == "repo":
        return share * ops.take(ops.mean(ops.square(mean(ops.square(away))), axis=1), y)
    return share * l2_norm(away) / (classes if form == "mean" else 1.0)
