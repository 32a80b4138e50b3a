"""The part of `Game` that both backends share."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_adv import noise
from keras_adv.backend.pure import Net, Tensor


class PerExample(keras.losses.Loss):
    """Mean of a (B,) term by Keras' own reduction, which also scales for `tf.distribute`."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        del y_true
        return y_pred


class BaseGame(keras.Model):
    """One Keras model that trains every defense: `fit`, callbacks and validation as for any other.

    A training step asks the defense to `prepare` the batch, then plays its moves in order; each move lowers its
    own terms over the variables it learns, with its own optimizer, and sees what the moves before it changed.
    The state of the random streams is a counter of steps, so a resumed run draws what the first would have drawn.

    Args:
        net: the classifier, a built Keras model with logits (B, classes).
        defense: what to play (see `keras_adv.defenses.Defense`).
        seed: start of the random streams.
    """

    def __init__(self, net: keras.Model, defense: Any, seed: int = 0) -> None:
        super().__init__(name="game")
        self.defense, self.seed = defense, seed
        self.predictor = net = defense.predictor(net)
        self.players = {"net": net, **defense.networks(net)}
        self.clock = self.add_weight(shape=(), initializer="zeros", dtype="int32", trainable=False)
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        self.trackers: dict[str, keras.metrics.Mean] = {}
        self.moves: tuple[Any, ...] = ()
        self.judges = [
            keras.metrics.SparseCategoricalCrossentropy(name="loss", from_logits=True),
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        ]
        self._mean = PerExample()
        self.built = True

    def start(self, moves: tuple[Any, ...], steps_per_epoch: int, epochs: int, **compile: Any) -> None:
        """Readies the optimizers of `moves` and compiles for `fit`; the rest goes to `Model.compile`.

        Moves that share an optimizer's name share its momentum: a later phase goes on with it.
        """
        for move in moves:
            if move.player not in self.optimizers:
                made = move.optimizer.build(steps_per_epoch, epochs)
                made.build(self.learned(move))
                self.optimizers[move.player] = made
            for term in (*move.terms, *move.monitors):
                if term not in self.trackers:
                    self.trackers[term] = keras.metrics.Mean(name=term)
        self.moves = moves
        self.compile(
            optimizer=self.optimizers[moves[0].player],
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **compile,
        )

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        return self.predictor(x, training=training)

    def compute_metrics(self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Any = None) -> Any:
        """Clean loss and accuracy of `evaluate` and of validation; training logs the terms instead."""
        for judge in self.judges:
            judge.update_state(y, y_pred, sample_weight)
        return {judge.name: judge.result() for judge in self.judges}

    def learned(self, move: Any) -> list[Any]:
        """The variables that a move learns."""
        return [v for name in move.learns for v in self.players[name].trainable_variables]

    def play(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        """One step: prepare, then each move in turn. Returns the mean of every term so far in the epoch."""
        self.clock.assign(self.clock.value + 1)
        seed = noise.fold(ops.convert_to_tensor(self.seed, "uint32"), self.clock.value)
        nets = {name: Net(player) for name, player in self.players.items()}
        batch = {"x": x, "y": y, **self.defense.prepare(nets, x, y, seed)}
        batch = {name: ops.stop_gradient(value) for name, value in batch.items()}
        for number, move in enumerate(self.moves):
            for net in nets.values():
                # room for a move that runs a net several times, each time with a count of its own
                net.set_clock((self.clock.value * len(self.moves) + number) * 64)
            for term, values in self.make_move(move, nets, batch).items():
                self.trackers[term].update_state(values)
        self.defense.settle(self.players, seed)
        terms = [term for move in self.moves for term in (*move.terms, *move.monitors)]
        return {term: self.trackers[term].result() for term in terms}

    def make_move(self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor]) -> Any:
        """Gradient of the move's terms by the variables it learns, applied. Returns the terms (B,)."""
        raise NotImplementedError

    def total(self, move: Any, terms: dict[str, Tensor]) -> Tensor:
        """Sum of the means of the move's terms; what it only monitors is left out."""
        return sum(self._mean(ops.zeros_like(terms[name]), terms[name]) for name in move.terms)
