"""Label smoothing as a baseline."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.losses import cross_entropy, hits, pick
from keras_adv.optimizers import Adam, Optimizer
from keras_adv.registry import option, register, tunable


def smoothed_cross_entropy(logits: Tensor, y: Tensor, alpha: float) -> Tensor:
    """(B,) -sum_k t_k log p_k with t_y = alpha and (1 - alpha) / (K - 1) for every other class.

    The least value is the entropy of t, not 0. alpha = 1 is the cross-entropy, alpha = 1 / K ignores the
    label.

    Args:
        logits: (B, K), K >= 2.
        y: (B,) labels.
        alpha: share of the true class, in [0, 1]. Szegedy et al.'s epsilon: alpha = 1 - epsilon (K - 1) / K.
    """
    log_p = ops.log_softmax(logits, axis=1)
    own = pick(log_p, y)
    others = (ops.sum(log_p, axis=1) - own) / (logits.shape[1] - 1)
    return -alpha * own - (1.0 - alpha) * others


def smooth_cross_entropy(logits: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """(B,) the same in Szegedy et al.'s terms: a share epsilon of the target goes to all classes alike. 0 is
    the cross-entropy itself."""
    if not epsilon:
        return cross_entropy(logits, y)
    classes = logits.shape[1]
    return smoothed_cross_entropy(logits, y, 1.0 - epsilon * (classes - 1) / classes)


@register("defense", "label_smoothing")
class LabelSmoothing(Defense):
    """-sum_k t_k log p_k(x), t_y = alpha and (1 - alpha) / (K - 1) elsewhere (Szegedy et al.,
    arXiv:1512.00567, 7).

    Smaller gradients at the images, in which attacks on the cross-entropy get lost (arXiv:2006.13726): a
    baseline of MadNet, not a protection.

    Args:
        alpha: share of the true class; MadNet: 0.8.
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass.
    """

    reference = "arXiv:1512.00567"
    alpha: float = tunable(default=0.8, lowest=0.6, highest=0.99, above=0.0, high=1.0)
    optimizer: Optimizer = option(default=Adam())

    def moves(self) -> tuple[Move, ...]:
        return (self.classifier_move("cross_entropy", loss=self._loss),)

    def _loss(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        logits = nets["net"].logits(batch["x"], mode="training")
        loss = smoothed_cross_entropy(logits, batch["y"], self.alpha)
        return {"cross_entropy": loss, ACCURACY: hits(logits, batch["y"])}
