"""The linearised decision boundary, which DeepFool and the high-confidence attack share."""

from __future__ import annotations

from keras import ops

from keras_adv.attacks.task import Logits
from keras_adv.backend import jacobian
from keras_adv.losses import decision, pick
from keras_adv.threats import Threat
from keras_adv.threats.base import TINY, Tensor


def differences(logits: Logits, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(z, z_j - z_y, grad(z_j - z_y)): (B, K), (B, K), (B, K, ...). Cost: K backward passes.

    y is the class to start from, (B,); None is the decision at x.
    """
    z, jac = jacobian(logits, x)
    y = decision(z) if y is None else y
    return z, z - pick(z, y)[:, None], jac - pick(jac, y)[:, None]


def nearest(threat: Threat, y: Tensor, gaps: Tensor, slopes: Tensor) -> Tensor:
    """(B,) argmin_{j != y} |z_j - z_y| / dual norm of grad(z_j - z_y): the class across the nearest
    linearised boundary (Moosavi-Dezfooli et al., arXiv:1511.04599, eq. 8)."""
    size = ops.reshape(threat.dual(ops.reshape(slopes, (-1, *slopes.shape[2:]))), ops.shape(gaps))
    distance = ops.abs(gaps) / ops.maximum(size, TINY)
    own = ops.one_hot(y, gaps.shape[1], dtype="bool")
    return ops.cast(ops.argmin(ops.where(own, 1e30, distance), axis=1), "int32")
