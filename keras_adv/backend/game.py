"""The part of `Game` that both backends share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.backend.declared import check_statistics, check_terms, mistake
from keras_adv.backend.kept import Kept
from keras_adv.backend.net import Net

LOSS = "loss"
"""In logs: what the moves of the classifier lower in a step, with what regularizers add."""
ACCURACY = "accuracy"
"""What the loss of a move may return beside its terms: (B,) which of its images are classified right."""
WEIGHT = "sample_weight"
"""In a batch: the weight of each image, where the data have weights."""
IMAGES, ROWS = "images", "rows"
"""In place of the images of a batch: they and their numbers in the training set, for a defense that keeps
something of each."""
PASSES_PER_MOVE = 64
"""Positions of a random stream that each move has to itself: one for each pass that it may make through a
network."""


class PerExample(keras.losses.Loss):
    """Mean of a (B,) term by Keras' own reduction, which also scales for `tf.distribute`."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        del y_true
        return y_pred


class BaseGame(Kept):
    """One Keras model that trains every defense: `fit`, callbacks and validation as for any other.

    A training step asks the defense to `prepare` the batch, then makes its moves in order; each move lowers
    its own terms over the variables it learns, with its own optimizer, and sees what the moves before it
    changed. The random streams are put at positions that follow from a counter of steps, so a resumed run
    draws what the first would have drawn.

    Args:
        net: the classifier, a built Keras model with logits (B, classes).
        defense: what to play (see `keras_adv.defenses.Defense`).
        seed: start of the random streams.
        observers: layers that a checkpoint of the game holds too, by name; no move learns them. Where they
            have a method `observe(net, step)`, it is called at the end of each step.

    Attributes:
        predictor: the model to serve, as the defense makes it of `net`.
        players: every network by name; "net" is the predictor.
        optimizers: one for each player that has a move.
        size: (height, width) that the images of a step are made smaller to; None: they stay.
    """

    def __init__(
        self,
        net: keras.Model,
        defense: Any,
        seed: int = 0,
        observers: dict[str, keras.layers.Layer] | None = None,
    ) -> None:
        net = defense.predictor(net)
        super().__init__(net, name="game")
        self.defense, self.seed = defense, seed
        self.observers = observers or {}
        self.players = {"net": net, **defense.networks(net), **self.observers}
        self.step_count = self.add_weight(
            shape=(), initializer="zeros", dtype="int32", trainable=False, aggregation="only_first_replica"
        )
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        # under other names than those of `clean_metrics`, which Keras would take them for
        self.trackers = {name: keras.metrics.Mean(name=f"trained_{name}") for name in (LOSS, ACCURACY)}
        self.moves: tuple[Any, ...] = ()
        self.clean_metrics = [
            keras.metrics.SparseCategoricalCrossentropy(name="loss", from_logits=True),
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        ]
        self._mean = PerExample()
        self.steps_per_epoch = 1
        self.size: tuple[int, int] | None = None
        self.built = True

    @property
    def means_of_steps(self) -> list[keras.metrics.Mean]:
        return list(self.trackers.values())

    def compile_moves(
        self, moves: tuple[Any, ...], steps_per_epoch: int, epochs: int, **options: Any
    ) -> None:
        """Makes the optimizers of `moves`, compiles for `fit`, and plays these moves until `play_only` says
        otherwise; `options` go to `keras.Model.compile`.

        Moves of one player share an optimizer, so that a later phase goes on with the momentum of the one
        before. Keras' own `optimizer`, which callbacks turn, is the classifier's where a move learns it.
        """
        self.steps_per_epoch = steps_per_epoch
        for move in moves:
            if move.name not in self.optimizers:
                made = move.optimizer.build(steps_per_epoch, epochs)
                if left := self._undecayed(move):
                    made.exclude_from_weight_decay(left)
                half = any(layer.compute_dtype == "float16" for layer in self.predictor._flatten_layers())
                if half and not isinstance(made, keras.optimizers.LossScaleOptimizer):
                    made = keras.optimizers.LossScaleOptimizer(made)  # small gradients vanish in float16
                made.build(self.variables_of(move))
                self.optimizers[move.name] = made
            for term in (*move.terms, *move.monitors):
                if term not in self.trackers:
                    self.trackers[term] = keras.metrics.Mean(name=term)
        self.moves = moves
        self.compile(
            optimizer=self.optimizers.get("net", self.optimizers[moves[0].name]),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **options,
        )

    def _undecayed(self, move: Any) -> list[keras.Variable]:
        """The weights that the weight decay of a move leaves alone."""
        small = getattr(move.optimizer, "decays", "all") == "kernels"
        left = [v for v in self.variables_of(move) if small and len(v.shape) < 2]
        return left + (self.defense.undecayed(Net(self.predictor)) if "net" in move.learns else [])

    def play_only(self, moves: tuple[Any, ...], size: tuple[int, int] | None = None) -> None:
        """From the next step on plays these moves, all of which were given to `compile_moves`, on images of
        this size."""
        if moves != self.moves or size != self.size:
            self.moves, self.size = moves, size
            self.make_train_function(force=True)

    def call(self, x: Any, training: bool = False) -> Tensor:
        return self.predictor(x[IMAGES] if isinstance(x, dict) else x, training=training)

    def compute_metrics(self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Any = None) -> Any:
        """Clean loss and accuracy of `evaluate` and of validation; training logs the terms instead."""
        for metric in self.clean_metrics:
            metric.update_state(y, y_pred, sample_weight)
        return {metric.name: metric.result() for metric in self.clean_metrics}

    def variables_of(self, move: Any) -> list[Any]:
        """The variables that a move learns. Raises InvalidInput where it names a network that is not
        there."""
        for name in move.learns:
            if name not in self.players:
                found = f"its move {move.name!r} learns {name!r}"
                raise mistake(self.defense, found, sorted(self.players))
        return [v for name in move.learns for v in self.players[name].trainable_variables]

    def play(self, x: Any, y: Tensor, weight: Tensor | None = None) -> dict[str, Any]:
        """One step: prepare, then each move in order. Returns the loss and every term, means over the epoch
        so far.

        Args:
            x: images (B, H, W, C) in [0, 1]; or a dictionary of them (`IMAGES`) and their numbers (`ROWS`).
            y: (B,) labels.
            weight: (B,) what every term of an image is multiplied by; None: 1.

        Raises:
            InvalidInput: the defense does not return what it declares (found while the step is compiled).
        """
        seed, nets, logged = self._step(x, y, self.make_move, weight)
        check_statistics(self.defense, nets["net"])
        self.defense.after_step(self.players, seed)
        for observer in self.observers.values():
            if hasattr(observer, "observe"):
                observer.observe(self.predictor, self.step_count.value)
        return {name: self.trackers[name].result() for name in logged}

    def _step(
        self, x: Any, y: Tensor, make: Callable[..., Any], weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Net], list[str]]:
        """Prepares the batch and has each move made in order. Returns the seed, the networks and what is
        logged."""
        self.step_count.assign(self.step_count.value + 1)
        seed = noise.fold(ops.convert_to_tensor(self.seed, "uint32"), self.step_count.value)
        nets = {name: Net(player) for name, player in self.players.items()}
        x, rows = (x[IMAGES], x[ROWS]) if isinstance(x, dict) else (x, None)
        x = ops.cast(x, "float32")
        if self.size is not None:
            x = ops.image.resize(x, self.size, antialias=True, data_format="channels_last")
        # a division of float32 by a constant may fall short of a whole number
        done = self.step_count.value - 1
        whole, rest = done // self.steps_per_epoch, done % self.steps_per_epoch
        epoch = ops.cast(whole, "float32") + ops.cast(rest, "float32") / self.steps_per_epoch
        for net in nets.values():
            net.step, net.epoch, net.rows = self.step_count.value, epoch, rows
        batch = {"x": x, "y": ops.reshape(ops.cast(y, "int32"), (-1,))}
        if weight is not None:
            batch[WEIGHT] = ops.reshape(ops.cast(weight, "float32"), (-1,))
        batch |= self.defense.prepare(nets, batch["x"], batch["y"], seed)
        batch = {name: ops.stop_gradient(value) for name, value in batch.items()}
        lowered, logged = [], dict[str, None]()
        for number, move in enumerate(self.moves):
            for net in nets.values():
                net.set_stream_position((self.step_count.value * len(self.moves) + number) * PASSES_PER_MOVE)
            found = dict(make(move, nets, batch))
            total = found.pop(LOSS, None)
            if total is not None and "net" in move.learns:
                lowered.append(total)
            for name, values in found.items():
                self.trackers[name].update_state(values)
            logged |= dict.fromkeys(found)
        if lowered:
            count = ops.cast(ops.shape(batch["y"])[0], "float32")
            self.trackers[LOSS].update_state(sum(lowered), sample_weight=count)
        return seed, nets, [*([LOSS] if lowered else []), *logged]

    def gather_statistics(self, batches: Any) -> None:
        """Has batch normalisation gather what it stores anew, by the passes of training steps in which
        nothing is learned: after the weights were replaced, by their average say.

        Args:
            batches: (images, labels) of steps.
        """
        if not Net(self.predictor).statistics:
            return
        run = self.statistics_step()
        for x, y in batches:
            run(x, y)

    def statistics_step(self) -> Callable[[Any, Any], None]:
        """One compiled step of `gather_statistics`."""
        raise NotImplementedError

    def make_move(self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor]) -> Any:
        """Gradient of a move's terms by the variables it learns, applied. Returns the terms, with `LOSS`."""
        raise NotImplementedError

    def terms_of(self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the move's loss returns: its terms, by the weight of each image, and its monitors, (B,) each.

        Raises:
            InvalidInput: a term is missing, not declared, or not one value for each image.
        """
        terms = move.loss(nets, batch)
        check_terms(self.defense, move, terms, batch["y"].shape[0], {LOSS, ACCURACY}, ACCURACY)
        weight = batch.get(WEIGHT)
        weighted = {} if weight is None else {name: weight * terms[name] for name in move.terms}
        return {**terms, **weighted}

    def total_loss(
        self, move: Any, nets: dict[str, Net], batch: dict[str, Tensor], devices: int = 1
    ) -> tuple[Tensor, Any]:
        """(what the move lowers; its terms and monitors, and that as `LOSS`): the sum of the means of its
        terms, and what Keras' `fit` would add for the networks that it learns: the regularizers of their
        weights and, for the classifier, what its layers add for the clean images (`add_loss`, activity
        regularizers; one more forward-backward pass, only for a net that has such layers).

        Of several devices each lowers its part of what is logged: the sum of the parts is what one device
        would lower."""
        terms = self.terms_of(move, nets, batch)
        total = sum(self._mean(ops.zeros_like(terms[name]), terms[name]) for name in move.terms)
        for name in move.learns:
            # of the other networks the input is not known
            added = nets[name].added_losses(batch["x"]) if name == "net" else nets[name].penalties()
            total = total + sum(added) / devices
        return total, {**terms, LOSS: total * devices}
