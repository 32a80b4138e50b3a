"""What a bounded attack ascends, by name; a defense adds its own (`objective`).

Each is (B,), higher nearer to the goal: away from y, or towards a target. Those that compare with the clean image
keep what they compare with (`reference`), found once at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_adv import losses, validate
from keras_adv.attacks.task import Task
from keras_adv.threats.base import Tensor

Value = Callable[[Task, Tensor, Tensor, Tensor], Tensor]


class Objective(NamedTuple):
    """A loss to ascend.

    Attributes:
        value: (task, images, their logits, reference) -> (B,).
        reference: what to keep of the clean images, task -> (B, ...), or None.
        targetable: has a form for `task.target`.
        least: the fewest classes; one more with a target.
    """

    value: Value
    reference: Callable[[Task], Tensor] | None = None
    targetable: bool = True
    least: int = 2


OBJECTIVES: dict[str, Objective] = {}


def objective(
    name: str, reference: Callable[[Task], Tensor] | None = None, targetable: bool = True, least: int = 2
) -> Callable[[Value], Value]:
    """Decorator: makes `value` known to every attack's `loss=` option."""

    def add(value: Value) -> Value:
        if name in OBJECTIVES:
            raise validate.fail("name", "a new name", name)
        OBJECTIVES[name] = Objective(value, reference, targetable, least)
        return value

    return add


def _surprise(task: Task, z: Tensor) -> Tensor:
    if task.target is None:
        return ops.softplus(losses.log_odds(z, task.y))
    return -ops.softplus(losses.log_odds(z, task.target))


@objective("cross_entropy")
def cross_entropy(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """-log p_y, or log p_t: in the form whose gradient does not vanish (`losses.log_odds`)."""
    return _surprise(task, z)


@objective("scaled")
def scaled(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """Cross-entropy of z / (z_1st - mean z), detached: logits made too large or too small hide no gradient."""
    spread = ops.max(z, axis=1, keepdims=True) - ops.mean(z, axis=1, keepdims=True)
    return _surprise(task, z / ops.stop_gradient(ops.maximum(spread, 1e-30)))


@objective("margin")
def margin(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """max_{j != y} z_j - z_y, or z_t - max_{j != t} z_j (Carlini & Wagner, arXiv:1608.04644, f_6, no clamp)."""
    return task.margin(z)


@objective("dlr", least=3)
def dlr(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """Difference of logits ratio, with a target its targeted form (arXiv:2003.01690, eq. 6 and 7)."""
    if task.target is None:
        return losses.dlr(z, task.y)
    return losses.dlr_targeted(z, task.y, task.target)


@objective("kl", reference=lambda task: task.see(task.x), targetable=False)
def kl(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """KL(p(x) || p(x')), what TRADES ascends (arXiv:1901.08573, eq. 5). 0 with gradient 0 at x: start at random."""
    return losses.kl_divergence(reference, z)


@objective("features", reference=lambda task: task.features(task.x), targetable=False)
def features(task: Task, images: Tensor, z: Tensor, reference: Tensor) -> Tensor:
    """|phi(x') - phi(x)|_2^2 / 2 in the layer named "features". Gradient 0 at x: start at random."""
    return ops.sum(ops.square(task.features(images) - reference), axis=1) / 2
