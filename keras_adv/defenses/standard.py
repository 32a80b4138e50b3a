"""No defense: the reference point of every table."""

from __future__ import annotations

from keras_adv.arrays import Tensor
from keras_adv.backend import ACCURACY
from keras_adv.defenses.base import Batch, Defense, Move, Nets
from keras_adv.losses import cross_entropy, hits
from keras_adv.optimizers import Adam, Optimizer
from keras_adv.registry import option, register


def clean_loss(nets: Nets, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropy on the clean images, in training mode, and which of them are classified right."""
    logits = nets["net"].logits(batch["x"], mode="training")
    return {"cross_entropy": cross_entropy(logits, batch["y"]), ACCURACY: hits(logits, batch["y"])}


def cross_entropy_move(defense: Defense) -> Move:
    """The move of plain training with the optimizer of `defense`."""
    return defense.classifier_move("cross_entropy", loss=clean_loss)


@register("defense", "standard")
class Standard(Defense):
    """Cross-entropy on clean images.

    Args:
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass.
    """

    optimizer: Optimizer = option(default=Adam())

    def moves(self) -> tuple[Move, ...]:
        return (cross_entropy_move(self),)
