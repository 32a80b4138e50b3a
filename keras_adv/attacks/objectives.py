"""What a bounded attack ascends: `pgd(loss=dlr())`, or by the bare word, `pgd(loss='dlr')`.

A defense adds its own beside its mathematics: one class with one `@register("objective", ...)`.
"""

from __future__ import annotations

from typing import ClassVar

from keras import ops

from keras_adv import losses
from keras_adv.arrays import Tensor
from keras_adv.attacks.task import Task
from keras_adv.registry import Spec, register


class Objective(Spec):
    """What an attack maximises: one value for each image, (B,), higher where the image is nearer to its goal.

    An objective that compares with the clean image keeps what it compares with, found once at the start: its
    `clean_reference`.
    """

    kind = "objective"
    targetable: ClassVar[bool] = True
    """Whether it has a form for `task.target`."""
    min_classes: ClassVar[int] = 2
    """The fewest classes; one more with a target."""
    compares: ClassVar[bool] = False
    """Whether it has a `clean_reference`, which costs a forward pass."""

    def clean_reference(self, task: Task) -> Tensor:
        """What `value` compares with, (B, ...), computed once from task.x (B, H, W, C).

        Raises InvalidInput for a plain function where features are needed.
        """
        raise NotImplementedError

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        """images (B, H, W, C), their logits (B, K), the reference that `clean_reference` returned (None where
        the objective does not compare) -> (B,)."""
        raise NotImplementedError


def _cross_entropy(task: Task, logits: Tensor) -> Tensor:
    if task.target is None:
        return ops.softplus(losses.log_odds_against(logits, task.y))
    return -ops.softplus(losses.log_odds_against(logits, task.target))


@register("objective", "cross_entropy")
class CrossEntropy(Objective):
    """-log p_y, or log p_t, from log odds: its gradient does not vanish in float32
    (`losses.log_odds_against`)."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return _cross_entropy(task, logits)


@register("objective", "softmax_cross_entropy")
class SoftmaxCrossEntropy(Objective):
    """-log p_y, or log p_t, as plain softmax in float32, as most papers' code has it.

    Where p_y is within 6e-8 of 1 its gradient by the true logit is exactly 0: a PGD on it is weaker than on
    `cross_entropy`. For the columns of papers whose claims rest on that, such as Manifold-Aware Training.
    """

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        if task.target is None:
            return losses.cross_entropy(logits, task.y)
        return -losses.cross_entropy(logits, task.target)


@register("objective", "scaled")
class Scaled(Objective):
    """Cross-entropy of z / (z_1st - mean z), the divisor detached: a large or small scale of logits hides no
    gradient."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        spread = ops.max(logits, axis=1, keepdims=True) - ops.mean(logits, axis=1, keepdims=True)
        return _cross_entropy(task, logits / ops.stop_gradient(ops.maximum(spread, 1e-30)))


@register("objective", "margin")
class MarginObjective(Objective):
    """max_{j != y} z_j - z_y, or z_t - max_{j != t} z_j (Carlini & Wagner, arXiv:1608.04644, f_6 without the
    clamp)."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return task.margin(logits)


@register("objective", "dlr")
class DLR(Objective):
    """Difference of logits ratio, with a target its targeted form (arXiv:2003.01690, eq. 6 and 7)."""

    min_classes = 3

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        if task.target is None:
            return losses.dlr(logits, task.y)
        return losses.dlr_targeted(logits, task.y, task.target)


class LogitComparison(Objective):
    """Base of objectives that compare logits with those of the clean image."""

    targetable = False
    compares = True

    def clean_reference(self, task: Task) -> Tensor:
        return task.logits(task.x)


class FeatureComparison(Objective):
    """Base of objectives that compare the features (`keras_adv.features`) with those of the clean image."""

    targetable = False
    compares = True

    def clean_reference(self, task: Task) -> Tensor:
        return task.features(task.x)


@register("objective", "kl")
class KL(LogitComparison):
    """KL(p(x) || p(x')), what TRADES ascends (arXiv:1901.08573, eq. 5). 0 with gradient 0 at x: start at
    random."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return losses.kl_divergence(reference, logits)


@register("objective", "features")
class FeatureDistance(FeatureComparison):
    """|phi(x') - phi(x)|_2^2 / 2 of the features. Gradient 0 at x: start at random."""

    def value(self, task: Task, images: Tensor, logits: Tensor, reference: Tensor | None) -> Tensor:
        return ops.sum(ops.square(task.features(images) - reference), axis=1) / 2
