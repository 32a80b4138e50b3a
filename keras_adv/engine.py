"""A training: the moves of a defense, played on data by Keras' `fit`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.attacks import Attack
from keras_adv.averaging import AVERAGED, EMA
from keras_adv.backend import Game, Net
from keras_adv.callbacks import (
    BEST_EPOCH,
    BEST_WEIGHTS,
    BestEpoch,
    BestWeights,
    Checkpoint,
    EpochOrder,
    PhaseChange,
    Progress,
    StopAfterStep,
    StopOnCollapse,
    StopOnNaN,
)
from keras_adv.data import image_files
from keras_adv.defenses import Defense
from keras_adv.defenses.base import MEMORY, Move, Phase
from keras_adv.feeding import Feed, validation
from keras_adv.growth import Grow
from keras_adv.optimizers import Ready

BEST_OF = 1000
"""Held-out images, the first ones, by which the best epoch is chosen."""


def depends_on_length(phases: Sequence[Phase], average: EMA | None) -> bool:
    """Whether the first steps of a training are others when it has more epochs."""
    scheduled = (getattr(m.optimizer, "schedule", None) is not None for p in phases for m in p.moves)
    return average is not None or any(scheduled)


@dataclass(frozen=True)
class Run:
    """What a training consists of.

    Args:
        defense: what is played.
        feed: what it is played on.
        epochs: passes over the data.
        settings: what else tells it from another: names and values fit for JSON.
        average: of the weights, or None.
        optimizer: in place of the defense's for the classifier, or None.
        best: the attack by which the best epoch is chosen, or None: the last one is served.
        grow: of the images, or None.
    """

    defense: Defense
    feed: Feed
    epochs: int
    settings: dict[str, Any]
    average: EMA | None = None
    optimizer: Ready | None = None
    best: Attack | None = None
    grow: Grow | None = None

    def _size(self, epoch: int) -> tuple[int, int] | None:
        return self.grow.size(epoch, self.feed.sample[0].shape[1:]) if self.grow else None

    def game(self, served: keras.Model, seed: int) -> Game:
        """The Keras model that trains `served`, compiled."""
        watched: dict[str, keras.layers.Layer] = {}
        if self.defense.collapse_guard():
            watched[BEST_WEIGHTS] = BestWeights(served)
        if self.average:
            watched[AVERAGED] = self.average.build(served, self.feed.steps * self.epochs)
        if self.defense.remembers and self.feed.ordered:
            images = self.feed.ordered.images
            watched[MEMORY] = self.defense.memory(len(images), images.shape[1:])
        if self.best:
            watched[BEST_EPOCH] = BestWeights(served, BEST_EPOCH)
        game = Game(served, self.defense, seed, watched)
        game.compile_moves(
            tuple(m for phase in self._phases for m in phase.moves), self.feed.steps, self.epochs
        )
        return game

    @property
    def _phases(self) -> tuple[Phase, ...]:
        phases = self.defense.phases(self.epochs)
        return tuple(phase._replace(moves=tuple(map(self._with_optimizer, phase.moves))) for phase in phases)

    def _with_optimizer(self, move: Move) -> Move:
        mine = self.optimizer is not None and move.name == "net"
        return move._replace(optimizer=self.optimizer) if mine else move  # type: ignore[arg-type]

    def play(
        self,
        game: Game,
        held_out: Any,
        callbacks: Sequence[keras.callbacks.Callback],
        verbose: int | str,
    ) -> None:
        """Trains, from where a `Checkpoint` among the callbacks finds it, and serves the average if one is
        asked for."""
        for callback in callbacks:
            # Keras knows the direction of metrics only that it was given in `compile`
            if getattr(callback, "mode", None) == "auto" and hasattr(callback, "monitor"):
                callback.mode = "max" if callback.monitor.endswith("accuracy") else "min"
        done = 0
        checkpoints = [c for c in callbacks if isinstance(c, Checkpoint)]
        for checkpoint in sorted(checkpoints, key=lambda c: c.furthest()[0]):  # what is furthest counts
            done = checkpoint.restore(game, self._identity(game), self.epochs)
        guard, served = self.defense.collapse_guard(), game.predictor
        own = [EpochOrder(self.feed.ordered)] if self.feed.ordered else []
        own += [PhaseChange(self._phases, self._size), StopOnNaN()]
        own += [StopOnCollapse(guard, served, *self.feed.sample)] if guard else []
        if self.best:
            average: Any = game.observers.get(AVERAGED)
            images, labels = (np.asarray(part[:BEST_OF]) for part in held_out[:2])
            own += [BestEpoch(self.best, served, images, labels, average)]
        progress = Progress(self.defense.name, verbose)
        if done < self.epochs:
            self._fit(
                game,
                shuffle=False,  # the batches have their own order
                initial_epoch=done,
                epochs=self.epochs,
                validation_data=validation(held_out),
                callbacks=[*own, *callbacks, progress],
                verbose=progress.verbose,
            )
        if self.best:
            game.observers[BEST_EPOCH].restore(served)
        elif self.average and not (guard and game.observers[BEST_WEIGHTS].is_over):
            game.observers[AVERAGED].restore(served)
            self._gather_statistics(game)

    def _fit(self, game: Game, callbacks: Sequence[keras.callbacks.Callback], **options: Any) -> None:
        asked = StopAfterStep([c for c in callbacks if isinstance(c, Checkpoint)])
        options |= {"callbacks": [*callbacks, asked], **self.feed.options}
        try:
            with asked.listening(), image_files.reading():
                game.fit(self.feed.source(), **options)
                asked.stop_if_asked()  # after its last step, too
        except LookupError as error:  # TensorFlow names the operation
            if "gradient registry" not in str(error):
                raise
            allowed = f"of operations whose gradient can be differentiated, for {self.defense.name}"
            raise validate.unusable("model", allowed, str(error)) from error

    def _gather_statistics(self, game: Game) -> None:
        """Has batch normalisation gather anew what it stores, by the weights that the net now has."""
        momentum = max((n.momentum for n in Net(game.predictor).normalisations), default=0.0)
        enough = math.ceil(5 / (1 - momentum)) if momentum < 1 else self.feed.steps
        if self.feed.ordered:
            self.feed.ordered.set_epoch(0)
        game.size = None
        game.gather_statistics(self.feed.some(enough))

    def _identity(self, game: Game) -> dict[str, Any]:
        """What a run is, so that a checkpoint of another is refused. Its length counts where a rate or the
        average depends on it."""
        timed = depends_on_length(self._phases, self.average)
        return {
            "defense": registry.spec(self.defense, full=True),
            "network": [list(v.shape) for v in game.predictor.weights],
            "data": self.feed.identity,
            **{
                name: value if isinstance(value, str) else int(value) for name, value in self.settings.items()
            },
            **({"epochs": int(self.epochs)} if timed else {}),
        }
