"""The linearised decision boundary: DeepFool, FAB, SparseFool, MALT, the high-confidence attack, margin and
Deep Defense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_adv.arrays import TINY, Logits, Tensor
from keras_adv.backend import jacobian
from keras_adv.losses import pick, predicted_class, wrong_classes
from keras_adv.threats import Threat


def logit_differences(logits: Logits, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(z, z_j - z_y, grad(z_j - z_y)): (B, K), (B, K), (B, K, ...). Cost: K backward passes.

    Args:
        logits: images -> (B, K).
        x: images (B, ...).
        y: (B,) the class to start from; None is the predicted class at x.
    """
    z, jac = jacobian(logits, x)
    y = predicted_class(z) if y is None else y
    return z, z - pick(z, y)[:, None], jac - pick(jac, y)[:, None]


def differences_to_rivals(
    logits: Logits, y: Tensor, candidates: int | None
) -> Callable[[Tensor], tuple[Tensor, Any]]:
    """The function x -> (z_j - z_y (B, R), (z (B, K), classes j (B, R))) for R wrong classes j.

    Args:
        logits: images -> (B, K).
        y: (B,) the right classes.
        candidates: R: the likeliest wrong classes, the likeliest first. None, or K - 1 and more: all of them,
            in no order.
    """

    def gaps(x: Tensor) -> tuple[Tensor, Any]:
        z = logits(x)
        count = z.shape[1]
        if candidates is None or candidates >= count - 1:
            classes = (y[:, None] + ops.arange(1, count, dtype=y.dtype)) % count
        else:
            classes = wrong_classes(ops.stop_gradient(z), y)[:, :candidates]
        return ops.take_along_axis(z, classes, axis=1) - pick(z, y)[:, None], (z, classes)

    return gaps


def boundary_distances(threat: Threat, gaps: Tensor, slopes: Tensor) -> Tensor:
    """(B, R) |f_j| / dual norm of grad f_j: how far the boundary f_j = 0 is, if f_j is linear.

    Args:
        threat: the norm.
        gaps: f_j (B, R), such as z_j - z_y.
        slopes: their gradients (B, R, ...).
    """
    size = ops.reshape(threat.dual(ops.reshape(slopes, (-1, *slopes.shape[2:]))), ops.shape(gaps))
    return ops.abs(gaps) / ops.maximum(size, TINY)


def nearest_class(threat: Threat, y: Tensor, gaps: Tensor, slopes: Tensor) -> Tensor:
    """(B,) argmin_{j != y} |z_j - z_y| / dual norm of grad(z_j - z_y): the class across the nearest
    linearised boundary (Moosavi-Dezfooli et al., arXiv:1511.04599, eq. 8)."""
    own = ops.one_hot(y, gaps.shape[1], dtype="bool")
    distance = ops.where(own, 1e30, boundary_distances(threat, gaps, slopes))
    return ops.cast(ops.argmin(distance, axis=1), "int32")


def near_classes(threat: Threat, logits: Logits, x: Tensor, y: Tensor, candidates: int) -> Tensor:
    """(B, R) int32: the `candidates` likeliest wrong classes, or all where there are fewer, that across the
    nearest linearised boundary first. Cost: a forward pass and R backward passes."""
    likely = wrong_classes(logits(x), y)[:, :candidates]

    def gaps(images: Tensor) -> Tensor:
        z = logits(images)
        return ops.take_along_axis(z, likely, axis=1) - pick(z, y)[:, None]

    order = ops.argsort(boundary_distances(threat, *jacobian(gaps, x)), axis=1)
    return ops.take_along_axis(likely, order, axis=1)
