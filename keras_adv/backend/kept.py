"""What is kept of a training: the model that is served, and the state that the training goes on from."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class Kept(keras.Model):
    """A model that trains another: to callbacks its weights are those of that one, which is also what they
    save. The state of the training is another file, and may be of within an epoch.

    Attributes:
        predictor: the model to serve.
        at_rest: makes the context in which the predictor is as it is to be served.
        passes_over: batches that are still drawn without a step, in a run that goes on within an epoch.
        means_of_steps: the metrics of an epoch's steps.
        logs_before: what stands for what these steps would log.
    """

    train_function: Any

    def __init__(self, predictor: keras.Model, name: str) -> None:
        super().__init__(name=name)
        self.predictor = predictor
        self.at_rest: Callable[[], Any] = lambda: contextlib.nullcontext(self.predictor)
        self.passes_over, self.logs_before = 0, dict[str, float]()

    @property
    def means_of_steps(self) -> list[keras.metrics.Mean]:
        raise NotImplementedError

    def save(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Saves the predictor, a plain Keras model: what `keras.callbacks.ModelCheckpoint` writes."""
        with self.at_rest() as model:
            model.save(filepath, overwrite, **options)

    def save_weights(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Saves the weights of the predictor."""
        with self.at_rest() as model:
            model.save_weights(filepath, overwrite, **options)

    def load_weights(self, filepath: Any, **options: Any) -> None:
        """Loads weights into the predictor."""
        with self.at_rest() as model:
            model.load_weights(filepath, **options)

    def get_weights(self) -> list[Any]:
        """The weights of the predictor: what `EarlyStopping` keeps of an epoch."""
        return list(self.predictor.get_weights())

    def set_weights(self, weights: list[Any]) -> None:
        """Puts weights into the predictor."""
        self.predictor.set_weights(weights)

    def save_state(self, filepath: Any) -> None:
        """Saves all that a run needs to go on: weights of all players, optimizers, counters, streams."""
        super().save_weights(filepath, overwrite=True)

    def load_state(self, filepath: Any) -> None:
        """Loads what `save_state` saved of a game that was compiled alike."""
        super().load_weights(filepath)

    def is_finite(self) -> bool:
        """Whether all weights of all players are."""
        return all(bool(ops.all(ops.isfinite(v))) for v in self.weights if "float" in str(v.dtype))

    def pass_over(self, steps: int, logs: dict[str, float]) -> None:
        """Goes on after so many steps of an epoch, whose state has been loaded: `fit` draws their batches
        without a step, and `logs` stand for what they would log."""
        self.passes_over, self.logs_before = steps, logs

    @property
    def means(self) -> dict[str, list[float]]:
        """What the means over the epoch in progress are made of, by name."""
        return {m.name: [float(ops.convert_to_numpy(v)) for v in m.variables] for m in self.means_of_steps}

    @means.setter
    def means(self, given: dict[str, list[float]]) -> None:
        for metric in self.means_of_steps:
            for variable, value in zip(metric.variables, given[metric.name], strict=True):
                variable.assign(value)

    def reset_metrics(self) -> None:
        """Not at the begin of an epoch that had begun: its means go on."""
        if not self.passes_over:
            super().reset_metrics()

    def _has_passed(self, batches: Any) -> bool:
        """Draws a batch, where its step was made before."""
        if not self.passes_over:
            return False
        next(batches)
        self.passes_over -= 1
        return True
