"""Weights of a loss that change while a net is trained."""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from keras_adv.arrays import Tensor
from keras_adv.backend import Net
from keras_adv.registry import Spec, option, register


@register("ramp", "ramp")
class Ramp(Spec):
    """A number that goes from `start` to `end` in a straight line, step by step, and stays there.

    It stands in place of a loss weight, so that what is hard to learn comes in late:
    `mat(beta=ramp(0, 6, epochs=8))`. Attacks that know the defense take `end`, also where a training is too
    short to reach it. Searches vary `end`.

    Args:
        start: value in the first step; the limits of the weight hold for both ends.
        end: value at the end of the ramp, and from then on.
        epochs: passes over the data from the one to the other.
        after: passes before it begins.

    >>> Ramp(0, 6, epochs=8)
    ramp(start=0, end=6, epochs=8.0)
    """

    kind = "ramp"
    ends: ClassVar[tuple[str, ...]] = ("start", "end")
    start: float = option(default=0.0)
    end: float = option(default=1.0)
    epochs: float = option(default=1.0, above=0.0)
    after: float = option(default=0.0, low=0.0)

    def at(self, epoch: Tensor) -> Tensor:
        """() float32, the value after so many passes over the data."""
        share = ops.clip((ops.cast(epoch, "float32") - self.after) / self.epochs, 0.0, 1.0)
        return self.start + (self.end - self.start) * share


def now(weight: float | Ramp, net: Net) -> Any:
    """The value that a weight has in the step that `net` is trained in."""
    return weight.at(net.epoch) if isinstance(weight, Ramp) else weight


def last(weight: float | Ramp) -> float:
    """The value at the end of the ramp, or the weight itself."""
    return weight.end if isinstance(weight, Ramp) else weight
