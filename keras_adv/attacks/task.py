"""What is asked of an attack on a batch: the model, and the examples with their goals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_adv import noise
from keras_adv.arrays import Logits, Tensor, zeros_per_image
from keras_adv.backend import FrozenNet, batch_numbers
from keras_adv.losses import margin, predicted_class
from keras_adv.validate import InvalidInput

JUDGING_DRAW = 0x1000000
"""The first of the draws of a random net on which the points of an attack are compared."""

HALF_PRECISION_SCALE = 1024.0
"""What a gradient is multiplied by on its way through a net that computes in float16."""


class Examples(NamedTuple):
    """Images and what each of them is attacked with: one row an image, NumPy arrays or tensors.

    Attributes:
        x: images (N, H, W, C) in [0, 1].
        y: (N,) int32 labels, the classes to leave.
        numbers: (N,) int32, the place of each image in the whole set; what is drawn for an image follows from
            it.
        seeds: (N,) uint32, one random stream for each image.
        eps: (N,) radius of each image, or None.
        target: (N,) int32 classes to reach, or None: any class but y will do.
        guide: (N, H, W, C) images whose features are to be imitated, for the attacks that are `guided`, or
            None.
        first: (N, H, W, C) images to start from in place of the attack's own start, for those that
            `Attack.continued` gives, or None.
    """

    x: Tensor
    y: Tensor
    numbers: Tensor
    seeds: Tensor
    eps: Tensor | None = None
    target: Tensor | None = None
    guide: Tensor | None = None
    first: Tensor | None = None

    @classmethod
    def of_batch(cls, x: Tensor, y: Tensor, seed: Any = 0, **goals: Any) -> Examples:
        """The examples of a whole set: image i has number i and draws from (seed, i). `goals` are further
        fields."""
        numbers = batch_numbers(x)
        return cls(x, ops.cast(y, "int32"), numbers, noise.seeds(seed, numbers), **goals)

    def take(self, rows: Any) -> Examples:
        """The examples of these rows, in their order; NumPy indices, or a boolean mask."""
        return Examples(*(None if field is None else field[rows] for field in self))

    def as_tensors(self) -> Examples:
        """The same as tensors of the backend."""
        return Examples(*(None if field is None else ops.convert_to_tensor(field) for field in self))

    def as_arrays(self) -> Examples:
        """The same as NumPy arrays."""
        return Examples(*(None if field is None else np.asarray(field) for field in self))


@dataclasses.dataclass(frozen=True)
class Task:
    """One batch to attack.

    Attributes:
        model: images -> logits: a `FrozenNet`, or any pure function.
        examples: the images with their labels, random streams and goals.
        draws: of a random net how many fresh draws judge a point; 1 for a net that answers always the same.
    """

    model: Logits
    examples: Examples
    draws: int = 1

    @property
    def x(self) -> Tensor:
        """Images (B, H, W, C)."""
        return self.examples.x

    @property
    def y(self) -> Tensor:
        """Labels (B,)."""
        return self.examples.y

    @property
    def seeds(self) -> Tensor:
        """Seeds (B,), one random stream for each image."""
        return self.examples.seeds

    @property
    def eps(self) -> Tensor:
        """Radii (B,), or None."""
        return self.examples.eps

    @property
    def target(self) -> Tensor | None:
        """Classes to reach (B,), or None."""
        return self.examples.target

    def with_goal(self, **changes: Any) -> Task:
        """The task with some fields of its examples changed."""
        return dataclasses.replace(self, examples=self.examples._replace(**changes))

    def logits(self, images: Tensor, draw: Any = None) -> Tensor:
        """(B, K) logits of `images`. `draw` numbers the draw of a random net (others ignore it).

        A gradient through them has 0 where the model's own is not finite, so that an attack goes on; that of
        a net in float16 is scaled on its way, for there it would round to 0.
        """
        if not isinstance(self.model, FrozenNet):
            return self.model(finite_gradient(images))
        net = self.model
        return self._asked(lambda v: net(v, draw), images)

    def features(self, images: Tensor) -> Tensor:
        """(B, F) features (`keras_adv.features`). Raises InvalidInput where the model is a function."""
        return self._asked(self.frozen_net().features, images)

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """((B, F), (B, K)) in one pass. Raises InvalidInput where the model is a function."""
        return self._asked(self.frozen_net().features_and_logits, images)

    def _asked(self, ask: Callable[[Tensor], Any], images: Tensor) -> Any:
        """What `ask` answers for images, with the rules of `logits` for a gradient through it."""
        half = self.frozen_net().net.model.compute_dtype == "float16"
        if not half:
            return ask(finite_gradient(images))
        answers = ask(finite_gradient(images, 1.0 / HALF_PRECISION_SCALE))
        return keras.tree.map_structure(lambda v: finite_gradient(v, HALF_PRECISION_SCALE), answers)

    def frozen_net(self) -> FrozenNet:
        """The model, for whoever needs more than its logits. Raises InvalidInput where it is a function."""
        if not isinstance(self.model, FrozenNet):
            raise InvalidInput(
                "`model` must be a Keras model where its features are asked for. Received: a function"
            )
        return self.model

    def fooled(self, logits: Tensor) -> Tensor:
        """(B,) bool: whether these logits reach the goal. Logits that are not finite are a mistake, and no
        target's class."""
        if self.target is None:
            return ops.logical_or(predicted_class(logits) != self.y, broken(logits))
        return ops.logical_and(predicted_class(logits) == self.target, ops.logical_not(broken(logits)))

    def confirmed(self, images: Tensor, hit: Tensor) -> Tensor:
        """`hit` (B,); of a random net only where most of its draws agree."""
        if self.draws == 1:
            return hit
        return ops.logical_and(hit, self.over_draws(images)[0] > 0.5)

    def over_draws(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(share (B,) of `draws` fresh draws that reach the goal, mean margin (B,) over them), of a random
        net. Cost: a forward pass a draw."""

        def judge(n: Tensor, hits: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            z = self.logits(images, JUDGING_DRAW + n)
            return n + 1, hits + ops.cast(self.fooled(z), "float32"), total + self.margin(z)

        zero = zeros_per_image(images)
        _, hits, total = ops.while_loop(lambda n, *_: n < self.draws, judge, (0, zero, zero))
        return hits / self.draws, total / self.draws

    def margin(self, logits: Tensor) -> Tensor:
        """(B,) how far these logits are beyond the goal: positive exactly where they reach it."""
        beyond = margin(logits, self.y) if self.target is None else -margin(logits, self.target)
        return ops.where(broken(logits), 1e30 if self.target is None else -1e30, beyond)


def finite_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """x; a gradient through it is multiplied by `scale`, and 0 where it is not finite."""

    @ops.custom_gradient
    def passed(v: Tensor) -> Any:
        def backward(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            g = args[0] if upstream is None else upstream
            return ops.where(ops.isfinite(g), scale * g, ops.zeros_like(g))

        return v, backward

    return passed(x)


def broken(logits: Tensor) -> Tensor:
    """(B,) bool: whether a logit of (B, K) is NaN or infinite."""
    return ops.logical_not(ops.all(ops.isfinite(logits), axis=1))


def as_logits(model: Any) -> Logits:
    """The pure function of a Keras model that attacks see; a function is returned as it is."""
    return FrozenNet(model) if isinstance(model, keras.Model) else model
