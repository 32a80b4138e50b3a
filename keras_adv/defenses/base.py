"""A defense: hyper-parameters and mathematics, no Keras state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import keras
from keras import ops

from keras_adv import noise, registry, validate
from keras_adv.attacks import APGD, PDPGD, PGD, Attack, Worst
from keras_adv.backend import Net, View
from keras_adv.models import Architecture
from keras_adv.optimizers import Optimizer
from keras_adv.registry import Spec
from keras_adv.threats import Threat

Tensor = Any
Nets = dict[str, Net]
Batch = dict[str, Tensor]


class Move(NamedTuple):
    """One update: the terms are lowered over the variables of the networks it learns.

    Attributes:
        player: name of the optimizer state; moves of the same player share it.
        learns: names of the networks.
        optimizer: what applies the gradient.
        terms: names of what `loss` returns, as they appear in logs.
        loss: (nets, batch) -> {term: (B,)}, weights already multiplied in; first the terms, then the monitors.
        monitors: names of what `loss` returns to be logged only.
    """

    player: str
    learns: tuple[str, ...]
    optimizer: Optimizer
    terms: tuple[str, ...]
    loss: Callable[[Nets, Batch], dict[str, Tensor]]
    monitors: tuple[str, ...] = ()


class Phase(NamedTuple):
    """A stretch of training that plays the same moves up to (not including) epoch `until`."""

    until: int
    moves: tuple[Move, ...]


class Defense(Spec):
    """Base of all defenses. Subclasses write `moves`, and what else they need of the rest.

    `nets` are pure functions of the current weights (`keras_adv.backend.Net`); `nets["net"]` is the classifier.
    """

    optimizer: Optimizer
    attacked: ClassVar[tuple[str, ...]] = ()
    """Objectives (`attacks.objectives`) that an attack which knows the defense ascends, besides the usual ones."""
    reported: ClassVar[Mapping[str, str]] = {}
    """The paper's own numbers, for cards: what -> text."""

    def design(self, model: Architecture) -> Architecture:
        """The architecture that is trained, given the one asked for."""
        return model

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            attack = getattr(self, field.name)
            if (
                isinstance(attack, PGD) and attack.restarts != 1
            ):  # all would be paid for, and the last one taken
                raise validate.fail(f"{field.name}.restarts", "1 in training", attack.restarts)

    def enrich(self, net: keras.Model, x: Any, y: Any) -> tuple[Any, Any]:
        """The training set (NumPy), before the first step, given the net that training starts from."""
        del net
        return x, y

    def networks(self, net: keras.Model) -> dict[str, keras.layers.Layer]:
        """Networks that train beside the classifier, by name; none of them is exported."""
        del net
        return {}

    def prepare(self, nets: Nets, x: Tensor, y: Tensor, seed: Tensor) -> Batch:
        """Once a batch, without gradient: adversarial images, targets, pairs. `seed` is fresh each step."""
        del nets, x, y, seed
        return {}

    def moves(self) -> tuple[Move, ...]:
        """The updates of one step, in order."""
        raise NotImplementedError

    def passes(self, classes: int) -> dict[str, int]:
        """The passes that one step's mathematics needs, for `bench`: "player.kind" -> how many.

        Kinds: "forward", "input" (gradient by the images), "jacobian", "weights" (training pass), "second" (a
        training pass through an input gradient).
        """
        del classes
        return {"net.weights": 1}

    def phases(self, epochs: int) -> tuple[Phase, ...]:
        """How training is divided; one phase unless the paper has a warm-up."""
        return (Phase(epochs, self.moves()),)

    def settle(self, players: dict[str, keras.layers.Layer], seed: Tensor) -> None:
        """What happens to the weights of the networks after the moves of a step: a projection, say."""
        del players, seed

    def callbacks(self, net: keras.Model, x: Any, y: Any) -> tuple[keras.callbacks.Callback, ...]:
        """Keras callbacks that watch over the training of `net` on this training set."""
        del net, x, y
        return ()

    def predictor(self, net: keras.Model) -> keras.Model:
        """The model that learns as `nets["net"]`, and is exported, attacked and served; its output are logits.

        It may be another model around the layers of `net`. Of what it returned before, it returns the same.
        """
        return net

    def adaptive_attack(self, threat: Threat | str, eot: int = 1) -> Attack:
        """The attack for whoever knows this defense: the worst case over APGD on the cross-entropy, on rescaled
        logits, on the margin to each class and on the defense's own objectives, and over PDPGD, whose steps are
        not capped.

        Args:
            threat: a threat with an eps, or its spec.
            eot: draws of a random net that each gradient of APGD is the mean of.
        """
        ball: Threat = registry.parse("threat", threat)
        losses = ("cross_entropy", "scaled", *self.attacked)
        climbs = [APGD(threat=ball, loss=loss, eot=eot) for loss in losses]
        climbs.append(APGD(threat=ball, loss="margin", targets=9, eot=eot))
        return Worst(threat=ball, attacks=(*climbs, PDPGD(threat=ball)))

    def classify(
        self, *terms: str, loss: Callable[[Nets, Batch], dict[str, Tensor]], monitors: tuple[str, ...] = ()
    ) -> Move:
        """The usual move: the classifier learns."""
        return Move("net", ("net",), self.optimizer, terms, loss, monitors)


def crafted(
    attack: Attack, net: Net, x: Tensor, y: Tensor, seed: Tensor, target: Tensor | None = None
) -> Tensor:
    """Images that an attack makes in training: on the net as it stands, in inference mode, every step taken."""
    seeds = noise.seeds(seed, ops.arange(ops.shape(x)[0]))
    return attack.perturb(View(net.frozen), x, ops.cast(y, "int32"), seeds, target)


def check_beside(attack: PGD, loss: str) -> None:
    """For `check`: the attack of a defense ascends `loss`, which has no gradient at x itself."""
    validate.one_of("attack.loss", attack.loss, (loss,))
    if not attack.jitter and not attack.random_start:
        raise validate.fail("attack.jitter", "greater than 0 for an attack that starts at x", attack.jitter)


def spent(attack: Attack, classes: int) -> dict[str, int]:
    """What `crafted` costs, for `Defense.passes`."""
    return {"net.input": attack.total * attack.gradients(classes) + attack.opening(classes)}


def mean_over(mask: Tensor, term: Tensor) -> Tensor:
    """A (B,) term whose mean over the batch is its mean over the images in `mask`; 0 where there are none."""
    mask = ops.cast(mask, term.dtype)
    count = ops.cast(ops.shape(term)[0], term.dtype)
    return ops.where(mask > 0, term, 0.0) * count / ops.maximum(ops.sum(mask), 1.0)
