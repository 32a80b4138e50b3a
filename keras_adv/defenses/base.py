"""A defense: hyper-parameters and mathematics, no Keras state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_adv import registry, validate
from keras_adv.arrays import Tensor
from keras_adv.attacks import APGD, PDPGD, PGD, Attack, BoundedAttack, Worst
from keras_adv.attacks.host import HostAttack
from keras_adv.attacks.objectives import CrossEntropy, MarginObjective, Objective, Scaled
from keras_adv.backend import Net, batch_sum
from keras_adv.models import Architecture
from keras_adv.optimizers import Optimizer
from keras_adv.registry import Spec
from keras_adv.threats import Threat

Nets = dict[str, Net]
Batch = dict[str, Tensor]


class Move(NamedTuple):
    """One update: the terms are lowered over the variables of the networks it learns.

    Attributes:
        name: of the optimizer; moves of the same name share it.
        learns: names of the networks.
        optimizer: what applies the gradient.
        terms: names of what `loss` returns, as they appear in logs.
        loss: (nets, batch) -> {term: (B,)}, weights already multiplied in; first the terms, then the
            monitors, and `ACCURACY` where it passes images of the classifier: `losses.hits` of the clean
            ones, or else of those that it trains on.
        monitors: names of what `loss` returns to be logged only.
    """

    name: str
    learns: tuple[str, ...]
    optimizer: Optimizer
    terms: tuple[str, ...]
    loss: Callable[[Nets, Batch], dict[str, Tensor]]
    monitors: tuple[str, ...] = ()


MEMORY = "memory"
"""Name under which a `Game` holds what a defense keeps of each image."""


class CollapseGuard(NamedTuple):
    """Watches for catastrophic overfitting: the net learns to fool the attack of its training, not to
    withstand others.

    Attributes:
        attack: measures the accuracy after each epoch; short, of several steps.
        drop: fall below the best accuracy so far that ends the training, with the best weights restored.
        images: how many training images, the first ones, the accuracy is measured on.
    """

    attack: PGD
    drop: float
    images: int


def single_step_guard(threat: Threat, drop: float = 0.2, images: int = 128, steps: int = 5) -> CollapseGuard:
    """What watches a training whose attack takes one step: a PGD of `steps` steps of eps / 4."""
    return CollapseGuard(PGD(threat=threat, steps=steps, step_size=0.25), drop, images)


class Phase(NamedTuple):
    """A stretch of training that plays the same moves up to (not including) epoch `until`. What its steps
    cost `passes` says, as `Defense.passes`; None: that of the defense itself."""

    until: int
    moves: tuple[Move, ...]
    passes: Callable[[int], dict[str, int]] | None = None


class Defense(Spec):
    """Base of all defenses. Subclasses write `moves`, and what else they need of the rest.

    `nets` are pure functions of the current weights (`keras_adv.backend.Net`); `nets["net"]` is the
    classifier. What a defense returns is checked while a step is compiled: an error of its author is an
    InvalidInput that names it.
    """

    kind = "defense"
    optimizer: Optimizer
    reported: ClassVar[Mapping[str, str]] = {}
    """The paper's own numbers, for cards: what -> text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            attack = getattr(self, field.name)
            # training would pay for all restarts and use the last one only
            if isinstance(attack, PGD) and attack.restarts != 1:
                raise validate.invalid(f"{field.name}.restarts", "1 in training", attack.restarts)
            if isinstance(attack, Attack) and (attack.guided or isinstance(attack, HostAttack)):
                why = "needs guides" if attack.guided else "is driven by SciPy"
                allowed, found = "an attack that runs in a training step", f"{attack.name}, which {why}"
                raise validate.unusable(field.name, allowed, found)

    @property
    def statistics_passes(self) -> int:
        """Passes of one step that move what the classifier stores besides weights: the statistics of batch
        normalisation.

        They are those of mode "training" (`keras_adv.backend.Net`). `Game` refuses a step that makes another
        number.
        """
        return 1

    @property
    def trained_threat(self) -> Threat | None:
        """The threat that the net is trained to withstand: the defense's own, its attack's, or that of the
        defense inside; None where it has none with an eps."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Defense):
                found = value.trained_threat
            else:
                found = value.threat if isinstance(value, Attack) else value
            if isinstance(found, Threat) and found.eps:
                return found
        return None

    def objectives(self) -> tuple[Objective, ...]:
        """What an attack that knows this defense ascends, besides the usual objectives."""
        return ()

    def collapse_guard(self) -> CollapseGuard | None:
        """How to watch the training for catastrophic overfitting, or None: where an attack of one step makes
        the images."""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            attack = getattr(self, field.name)
            if isinstance(attack, BoundedAttack) and attack.rounds == 1:
                return single_step_guard(attack.threat)
        return None

    def adapt_model(self, model: Architecture) -> Architecture:
        """The architecture that is trained, given the one asked for."""
        return model

    def extend_data(self, net: keras.Model, x: Any, y: Any) -> tuple[Any, Any]:
        """The training set (NumPy), before the first step, given the net that training starts from.

        x (N, H, W, C), y (N,) -> images (M, H, W, C), labels (M,).
        """
        del net
        return x, y

    def extended_count(self, count: int) -> int:
        """How many images `extend_data` returns of so many."""
        return count

    def batch_rows(
        self, labels: np.ndarray
    ) -> Callable[[np.ndarray, np.random.Generator], np.ndarray] | None:
        """What makes of the rows (B,) of a batch those that a step sees, given the labels (N,) of the
        training set; None: they stay. A defense of pairs adds partners.

        The generator is that of the batch: a resumed run draws the same again.
        """
        del labels
        return None

    @property
    def remembers(self) -> bool:
        """Whether it keeps something of each training image: `memory` makes what keeps it, and
        `nets["net"].rows` are the numbers of a step's images."""
        return False

    @property
    def needs_arrays(self) -> bool:
        """Whether it looks at the whole training set, so that this must be in memory."""
        return self.remembers or type(self).extend_data is not Defense.extend_data

    def memory(self, count: int, shape: tuple[int, ...]) -> keras.layers.Layer:
        """What keeps something of each of so many training images (H, W, C): its weights are not learned, and
        a checkpoint has them. In `prepare` it is `nets[MEMORY].model`."""
        raise NotImplementedError

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        """Networks that train beside the classifier, by name; none of them is exported."""
        del net
        return {}

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        """Further entries of the batch, made once a step without gradient: adversarial images, targets,
        pairs.

        x (B, H, W, C), y (B,) int32, seed () uint32, fresh each step -> name: tensor, one row for each image.
        """
        del nets, x, y, seed
        return {}

    def moves(self) -> tuple[Move, ...]:
        """The updates of one step, in order."""
        raise NotImplementedError

    def passes(self, classes: int) -> dict[str, int]:
        """The passes that one step's mathematics needs, for `bench` and for the FLOP on a card: "player.kind"
        -> how many.

        Kinds: "forward", "input" (gradient by the images), "jacobian", "weights" (training pass), "second" (a
        training pass through an input gradient).
        """
        del classes
        return {"net.weights": 1}

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        """How training is divided; one phase unless the paper has a warm-up."""
        return (Phase(epochs, self.moves()),)

    def undecayed(self, net: Net) -> list[keras.Variable]:
        """Weights of the classifier that a weight decay of an optimizer leaves alone."""
        del net
        return []

    def after_step(self, players: dict[str, keras.layers.Layer], seed: Tensor) -> None:
        """What happens to the weights of the networks after the moves of a step: a projection, say."""
        del players, seed

    def predictor(self, net: keras.Model) -> keras.Model:
        """The model that learns as `nets["net"]`, and is exported, attacked and served; its outputs are
        logits.

        It may be another model around the layers of `net`; given that model, it returns it.
        """
        return net

    def adaptive_attack(self, threat: Threat | str, eot: int = 1) -> Attack:
        """The attack for whoever knows this defense: the worst case over APGD on the cross-entropy, on
        rescaled logits, on the defense's own `objectives` and on the margin to each class, and over PDPGD,
        whose iterates may leave the ball.

        Args:
            threat: a threat with an eps, or its spec.
            eot: draws of a random net that each gradient of APGD is the mean of.

        Raises:
            InvalidInput: a threat without an eps, or l0, which APGD does not have.
        """
        ball: Threat = registry.parse("threat", threat)
        objectives = (CrossEntropy(), Scaled(), *self.objectives())
        attacks = [APGD(threat=ball, loss=objective, eot=eot) for objective in objectives]
        attacks.append(APGD(threat=ball, loss=MarginObjective(), targets=9, eot=eot))
        return Worst(threat=ball, attacks=(*attacks, PDPGD(threat=ball)))

    def classifier_move(
        self, *terms: str, loss: Callable[[Nets, Batch], dict[str, Tensor]], monitors: tuple[str, ...] = ()
    ) -> Move:
        """The usual move: the classifier learns."""
        return Move("net", ("net",), self.optimizer, terms, loss, monitors)


def masked_term(mask: Tensor, term: Tensor) -> Tensor:
    """A (B,) term whose mean over the batch is its mean over the images in `mask`; 0 where there are none."""
    mask = ops.cast(mask, term.dtype)
    count, among = batch_sum(ops.ones_like(mask)), batch_sum(mask)
    return ops.where(mask > 0, term, 0.0) * count / ops.maximum(among, 1.0)
