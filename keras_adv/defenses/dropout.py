"""Dropout as a baseline."""

from __future__ import annotations

from keras_adv.defenses.base import Defense, Move
from keras_adv.defenses.standard import cross_entropy_move
from keras_adv.models import Architecture
from keras_adv.optimizers import Adam, Optimizer
from keras_adv.registry import option, register, tunable
from keras_adv.validate import InvalidInput


@register("defense", "dropout")
class Dropout(Defense):
    """Cross-entropy on a network with dropout in its hidden layers (thesis 3.5: rate 0.5).

    Args:
        rate: share of the units that is dropped in training.
        optimizer: of the classifier.

    Cost a step: 1 forward-backward pass.
    """

    reference = "Srivastava et al., JMLR 2014"
    rate: float = tunable(default=0.5, lowest=0.1, highest=0.7, above=0.0, high=0.9)
    optimizer: Optimizer = option(default=Adam())

    def adapt_model(self, model: Architecture) -> Architecture:
        if not hasattr(model, "dropout"):
            raise InvalidInput(
                f"`model` must have a dropout option for the defense dropout. Received: {model}"
            )
        return model.replace(dropout=self.rate)

    def moves(self) -> tuple[Move, ...]:
        return (cross_entropy_move(self),)
