"""The linearised decision boundary, which DeepFool and the high-confidence attack share."""

from __future__ import annotations

from keras import ops

from keras_adv.attacks.task import Logits
from keras_adv.backend import jacobian
from keras_adv.losses import decision, pick, wrong_classes
from keras_adv.threats import Threat
from keras_adv.threats.base import TINY, Tensor


def differences(logits: Logits, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(z, z_j - z_y, grad(z_j - z_y)): (B, K), (B, K), (B, K, ...). Cost: K backward passes.

    y is the class to start from, (B,); None is the decision at x.
    """
    z, jac = jacobian(logits, x)
    y = decision(z) if y is None else y
    return z, z - pick(z, y)[:, None], jac - pick(jac, y)[:, None]


def rivals(
    logits: Logits, x: Tensor, y: Tensor, classes: int, candidates: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(z, classes j (B, R), z_j - z_y (B, R), their gradients (B, R, ...)) for the likeliest wrong classes.

    Args:
        candidates: R; None, or as many as there are wrong classes: all of them, by the Jacobian (K backward passes,
            and j = y among them). Else 2 forward and R backward passes.
    """
    if candidates is None or candidates >= classes - 1:
        z, gaps, slopes = differences(logits, x, y)
        return z, ops.broadcast_to(ops.arange(classes, dtype="int32"), ops.shape(z)), gaps, slopes
    z = logits(x)
    chosen = wrong_classes(z, y)[:, :candidates]

    def apart(v: Tensor) -> Tensor:
        z = logits(v)
        return ops.take_along_axis(z, chosen, axis=1) - pick(z, y)[:, None]

    gaps, slopes = jacobian(apart, x)
    return z, chosen, gaps, slopes


def nearest(threat: Threat, y: Tensor, gaps: Tensor, slopes: Tensor) -> Tensor:
    """(B,) argmin_{j != y} |z_j - z_y| / dual norm of grad(z_j - z_y): the class across the nearest
    linearised boundary (Moosavi-Dezfooli et al., arXiv:1511.04599, eq. 8)."""
    size = ops.reshape(threat.dual(ops.reshape(slopes, (-1, *slopes.shape[2:]))), ops.shape(gaps))
    distance = ops.abs(gaps) / ops.maximum(size, TINY)
    own = ops.one_hot(y, gaps.shape[1], dtype="bool")
    return ops.cast(ops.argmin(ops.where(own, 1e30, distance), axis=1), "int32")
