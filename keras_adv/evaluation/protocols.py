"""rho, the mean size of DeepFool's perturbations, as each of the papers defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import validate
from keras_adv.arrays import Tensor, expand_like, in_float32
from keras_adv.attacks.base import State
from keras_adv.attacks.deepfool import DeepFool
from keras_adv.attacks.task import Examples, Task
from keras_adv.backend import FrozenNet, compile, where_rows
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.slots import in_batches


@dataclass(frozen=True)
class Definition:
    """What a paper means by rho.

    Attributes:
        steps: of DeepFool, at most.
        max_step: longest l2 step, or None.
        box: whether each step ends in [0, 1].
        predicted: whether the class to leave is the predicted one; else it is the label, and what is
            misclassified has a perturbation of 0.
        correct: whether the mean is over the correctly classified images alone; else over all.
        centred: whether a perturbation is divided by the norm of the image less the mean image.
    """

    steps: int
    max_step: float | None
    box: bool
    predicted: bool
    correct: bool
    centred: bool


DEFINITIONS = {
    "margin": Definition(50, 0.5, box=False, predicted=False, correct=True, centred=False),
    "critic": Definition(500, 0.1, box=True, predicted=False, correct=False, centred=False),
    "deep_defense": Definition(5, None, box=False, predicted=True, correct=False, centred=True),
}
"""Thesis, chapter 3 and chapter 4; Yan et al., arXiv:1803.00404."""


class _Search(DeepFool):
    """DeepFool that may leave the box, and whose last point counts where it found nothing."""

    name = "deepfool_of_a_protocol"
    leaves = False

    def kept(self, images: Tensor) -> Tensor:
        return images if self.leaves else super().kept(images)

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        new, fooled = super().step(task, state)
        new["x"] = where_rows(state["k"] >= self.steps, state["x"], new["x"])  # no look is left at a new one
        return new, fooled


class _Leaving(_Search):
    name = "deepfool_without_the_box"
    leaves = True


@in_float32()
def rho(
    model: keras.Model, x: Any, y: Any, definition: str, *, mean: Any = None, batch_size: int = 256
) -> float:
    """The mean of |r|_2 / |x|_2 over a set, r DeepFool's perturbation, as a paper defines it.

    "margin": over the correctly classified images; 50 steps of at most 0.5, without a box. "critic": over all
    images, 0 for the misclassified; 500 steps of at most 0.1 inside the box. "deep_defense": over all images,
    away from the predicted class; 5 steps, without a box, and over the norm of the image less the mean image.
    In all three the perturbation of an image whose class does not change is the one after the last step, and
    r has DeepFool's overshoot of 2%. Never compare figures of two definitions: on MNIST the third divides by
    norms that are smaller by a factor of 1.29. `evaluate` has a fourth, "mean_ratio": correct and fooled
    images, in the box.

    Args:
        model: as in `attack`.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        definition: "margin", "critic" or "deep_defense".
        mean: image (H, W, C), or anything that broadcasts to one, which "deep_defense" subtracts; None: the
            mean of x.
        batch_size: images at a time.

    Raises:
        InvalidInput: as `attack`; an unknown definition; a mean of another shape.

    Cost: at most steps + 1 Jacobians an image.
    """
    validate.one_of("definition", definition, DEFINITIONS)
    chosen = DEFINITIONS[definition]
    images = classify(model, x, y, batch_size)
    centre = images.x.mean(0) if mean is None else validate.as_array("mean", mean, "an image")
    if not _fits(centre.shape, images.x.shape[1:]):
        raise validate.unusable("mean", f"of shape {images.x.shape[1:]}", f"shape {centre.shape}")
    away = images.logits.argmax(1).astype("int32") if chosen.predicted else images.y
    kind = _Search if chosen.box else _Leaving
    search = kind(steps=chosen.steps, max_step=chosen.max_step)
    run = compile(lambda x, y: (_sizes(search, FrozenNet(model), x, y),), model)
    sizes = in_batches(run, batch_size, images.x, away)[0]
    over = images.x - centre if chosen.centred else images.x
    ratios = sizes / np.maximum(np.linalg.norm(over.reshape(len(over), -1), axis=1), 1e-12)
    return float(ratios[images.correct].mean() if chosen.correct else ratios.mean())


def _fits(shape: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Whether an array of a shape broadcasts to an image."""
    return len(shape) <= 3 and all(n in (1, m) for n, m in zip(shape[::-1], image[::-1], strict=False))


def _sizes(search: DeepFool, net: Any, x: Tensor, y: Tensor) -> Tensor:
    """(B,) norms of the perturbations; 0 where y is not the predicted class."""
    task = Task(net, Examples.of_batch(x, y))
    state = search.advance(task, search.begin(task), search.rounds)
    found = expand_like(ops.cast(state["best_norm"] < 1e30, "float32"), x)
    return search.threat.norm(found * (state["best"] - x) + (1.0 - found) * (state["x"] - x))
