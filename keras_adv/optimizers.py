"""Optimizers and learning-rate schedules as specs: "adam(learning_rate=5e-4, schedule=drop(every=40))"."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_adv import registry, validate
from keras_adv.arrays import Tensor
from keras_adv.registry import Spec, option, register, tunable


class Schedule(Spec):
    """How a learning rate changes; counts in epochs."""

    kind = "schedule"

    def build(self, rate: float, steps_per_epoch: int, epochs: int) -> object:
        """A Keras LearningRateSchedule."""
        raise NotImplementedError


@register("schedule", "drop")
class Drop(Schedule):
    """rate * factor^(epoch // every). The critic: every=40, factor=0.5; margin: every=1, factor=0.95.

    Args:
        every: epochs between two drops.
        factor: multiplies the rate, in (0, 1].
    """

    every: int = option(default=40, low=1)
    factor: float = option(default=0.5, above=0.0, high=1.0)

    def build(self, rate: float, steps_per_epoch: int, epochs: int) -> object:
        return keras.optimizers.schedules.ExponentialDecay(
            rate, self.every * steps_per_epoch, self.factor, staircase=True
        )


@register("schedule", "milestones")
class Milestones(Schedule):
    """rate * factor for every epoch of `at` that has passed. CIFAR, 110 epochs: at=(100, 105), factor=0.1.

    Args:
        at: epochs at whose end the rate falls, in order.
        factor: multiplies the rate, in (0, 1].
    """

    at: tuple[int, ...] = option(default=(50, 80), low=1)
    factor: float = option(default=0.1, above=0.0, high=1.0)

    def build(self, rate: float, steps_per_epoch: int, epochs: int) -> object:
        values = [rate * self.factor**n for n in range(len(self.at) + 1)]
        # Keras still has the old rate at the boundary itself, and the first step is number 0
        bounds = [epoch * steps_per_epoch - 1 for epoch in self.at]
        return keras.optimizers.schedules.PiecewiseConstantDecay(bounds, values)


@register("schedule", "cosine")
class Cosine(Schedule):
    """Half a cosine from the rate to 0 over the whole run."""

    def build(self, rate: float, steps_per_epoch: int, epochs: int) -> object:
        return keras.optimizers.schedules.CosineDecay(rate, steps_per_epoch * epochs)


@register("schedule", "one_cycle")
class OneCycle(Schedule):
    """From rate / 25 up to the rate in a share of the run, then down to 0, both in straight lines
    (Smith & Topin, arXiv:1708.07120).

    Args:
        rise: share of the steps that the rate rises.
    """

    rise: float = option(default=0.3, above=0.0, high=0.99)

    def build(self, rate: float, steps_per_epoch: int, epochs: int) -> object:
        steps = steps_per_epoch * epochs
        return _Lines(rate, rise=self.rise * steps, steps=steps)


@keras.saving.register_keras_serializable(package="keras_adv")
class _Lines(keras.optimizers.schedules.LearningRateSchedule):
    """What `OneCycle` builds."""

    def __init__(self, rate: float, rise: float, steps: int) -> None:
        super().__init__()
        self.rate, self.rise, self.steps = rate, rise, steps

    def __call__(self, step: Tensor) -> Tensor:
        step = ops.cast(step, "float32")
        up = 1 / 25 + (1 - 1 / 25) * step / self.rise
        down = (self.steps - step) / (self.steps - self.rise)
        return self.rate * ops.maximum(ops.minimum(up, down), 0.0)

    def get_config(self) -> dict[str, float]:
        return {"rate": self.rate, "rise": self.rise, "steps": self.steps}


class Optimizer(Spec):
    """A Keras optimizer to be built for a run."""

    kind = "optimizer"

    def build(self, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
        """A new Keras optimizer whose schedule fits a run of this length."""
        raise NotImplementedError


class Ready:
    """An optimizer that a user gives in place of a defense's own.

    Args:
        given: a Keras optimizer, or a spec.
    """

    def __init__(self, given: keras.optimizers.Optimizer | Optimizer) -> None:
        self.given = given
        self.schedule = getattr(given, "schedule", None)

    def build(self, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        given = self.given
        return given.build(steps_per_epoch, epochs) if isinstance(given, Optimizer) else given

    @property
    def identity(self) -> str:
        """What tells it from another."""
        if isinstance(self.given, Optimizer):
            return registry.spec(self.given, full=True)
        return str(keras.optimizers.serialize(self.given)["config"])


def ready(optimizer: Any) -> Ready:
    """What stands for a Keras optimizer, its Keras name, or a spec of this package.

    Raises:
        InvalidInput: it is none of them, or has been used.
    """
    if isinstance(optimizer, keras.optimizers.Optimizer):
        if optimizer.built or optimizer.use_ema:
            allowed = "a new one, without use_ema (see `average`)"
            raise validate.unusable("optimizer", allowed, f"{optimizer.name}, used or averaging")
        return Ready(optimizer)
    known = registry.registered("optimizer")
    if isinstance(optimizer, str) and "(" not in optimizer and optimizer not in known:
        try:
            return Ready(keras.optimizers.get(optimizer))
        except ValueError as error:
            allowed = f"a Keras optimizer, its name, or one of {sorted(known)}"
            raise validate.invalid("optimizer", allowed, optimizer) from error
    return Ready(registry.parse("optimizer", optimizer))


def _rate(rate: float, schedule: Schedule | None, steps_per_epoch: int, epochs: int) -> object:
    return rate if schedule is None else schedule.build(rate, steps_per_epoch, epochs)


@register("optimizer", "adam")
class Adam(Optimizer):
    """Adam, `keras.optimizers.Adam`.

    Args:
        learning_rate: of the first step.
        beta_1: share of the mean gradient that a step keeps.
        schedule: of the rate over the run; None keeps it.
        clip: length that the gradient of all weights together is shortened to; None: never.
    """

    learning_rate: float = tunable(default=1e-3, lowest=1e-4, highest=1e-2, log=True, above=0.0)
    beta_1: float = option(default=0.9, low=0.0, high=0.9999)
    schedule: Schedule | None = option(default=None)
    clip: float | None = option(default=None, above=0.0)

    def build(self, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
        rate = _rate(self.learning_rate, self.schedule, steps_per_epoch, epochs)
        return keras.optimizers.Adam(rate, beta_1=self.beta_1, global_clipnorm=self.clip)


@register("optimizer", "sgd")
class SGD(Optimizer):
    """Momentum SGD, `keras.optimizers.SGD`.

    Args:
        learning_rate: of the first step.
        momentum: share of the last step that is kept.
        nesterov: Nesterov's form.
        weight_decay: Keras' decoupled one, times the learning rate.
        decays: "all" weights, or "kernels": not biases, nor scales and shifts of normalisation.
        schedule: of the rate over the run; None keeps it.
        clip: length that the gradient of all weights together is shortened to; None: never.
    """

    learning_rate: float = tunable(default=0.1, lowest=1e-3, highest=0.5, log=True, above=0.0)
    momentum: float = option(default=0.9, low=0.0, high=0.9999)
    nesterov: bool = option(default=False)
    weight_decay: float | None = option(default=None, low=0.0)
    decays: str = option(default="all", choices=("all", "kernels"))
    schedule: Schedule | None = option(default=None)
    clip: float | None = option(default=None, above=0.0)

    def build(self, steps_per_epoch: int, epochs: int) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD(
            _rate(self.learning_rate, self.schedule, steps_per_epoch, epochs),
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip,
        )
