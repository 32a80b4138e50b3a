"""Protocols of papers: rho, the mean size of perturbations, and FGSM at shares of a radius."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_adv import registry, validate
from keras_adv.arrays import Tensor, expand_like, in_float32
from keras_adv.attacks.base import Attack, State
from keras_adv.attacks.contracts import NOTHING
from keras_adv.attacks.deepfool import DeepFool
from keras_adv.attacks.fgsm import FGSM
from keras_adv.attacks.high_confidence import HighConfidence
from keras_adv.attacks.task import Examples, Task
from keras_adv.backend import FrozenNet, compile, where_rows
from keras_adv.evaluation.goals import make_examples
from keras_adv.evaluation.image_set import ImageSet, classify
from keras_adv.evaluation.runner import attack_examples
from keras_adv.evaluation.slots import in_batches
from keras_adv.threats import L2, Linf


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


class _LastTry:
    """For an attack whose last point counts where it found nothing."""

    def step(self, task: Task, state: State) -> tuple[State, Tensor]:
        new, fooled = super().step(task, state)  # type: ignore[misc]
        # no look is left at a new one
        new["x"] = where_rows(state["k"] >= self.steps, state["x"], new["x"])  # type: ignore[attr-defined]
        return new, fooled


class _Search(_LastTry, DeepFool):
    name = "deepfool_of_a_protocol"


class _Climb(_LastTry, HighConfidence):
    name = "high_confidence_of_a_protocol"


@in_float32()
def rho(
    model: keras.Model,
    x: Any,
    y: Any,
    definition: str,
    *,
    attack: Attack | str | None = None,
    mean: Any = None,
    batch_size: int = 256,
) -> float:
    """The mean of |r|_2 / |x|_2 over a set, r DeepFool's perturbation, as a paper defines it.

    "margin": over the correctly classified images; 50 steps of at most 0.5, without a box. "critic": over all
    images, 0 for the misclassified; 500 steps of at most 0.1 inside the box. "deep_defense": over all images,
    away from the predicted class; 5 steps, without a box, and over the norm of the image less the mean image.
    In all three the perturbation of an image whose class does not change is the one after the last step, and
    r has DeepFool's overshoot of 2%. Never compare figures of two definitions: on MNIST the third divides by
    norms that are smaller by a factor of 1.29. `evaluate` has a fourth, "mean_ratio": correct and fooled
    images, in the box.

    The thesis' table 4.1 has "critic" under two attacks more: `attack="high_confidence()"`, the last try of
    which counts where it does not reach its confidence, and `attack="carlini_wagner(initial=0.001,
    searches=9, steps=1000, lr=0.01)"`, which leaves out what it does not fool.

    Args:
        model: as in `attack`.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        definition: "margin", "critic" or "deep_defense".
        attack: in place of DeepFool with its steps and its box: a minimal attack in l2, or its spec.
        mean: image (H, W, C), or anything that broadcasts to one, which "deep_defense" subtracts; None: the
            mean of x.
        batch_size: images at a time.

    Raises:
        InvalidInput: as `attack`; an unknown definition; a mean of another shape; an attack that is not a
            minimal one in l2; none of the images is fooled.

    Cost: at most steps + 1 Jacobians an image, or that of the attack.
    """
    found = ratios(model, x, y, definition, attack=attack, mean=mean, batch_size=batch_size)
    if not len(found):
        raise validate.unusable("x", "a set with images that the attack fools", "one without")
    return float(found.mean())


@in_float32()
def ratios(
    model: keras.Model,
    x: Any,
    y: Any,
    definition: str,
    *,
    attack: Attack | str | None = None,
    mean: Any = None,
    batch_size: int = 256,
) -> np.ndarray:
    """|r|_2 / |x|_2 of each image that counts in `rho`, their mean; none where the attack fools none.

    Arguments and errors as there.
    """
    validate.one_of("definition", definition, DEFINITIONS)
    chosen = DEFINITIONS[definition]
    search = _search(chosen, attack)
    images = classify(model, x, y, batch_size)
    centre = images.x.mean(0) if mean is None else validate.as_array("mean", mean, "an image")
    if not _fits(centre.shape, images.x.shape[1:]):
        raise validate.unusable("mean", f"of shape {images.x.shape[1:]}", f"shape {centre.shape}")
    away = images.logits.argmax(1).astype("int32") if chosen.predicted else images.y
    if isinstance(search, _LastTry):
        run = compile(lambda x, y: (_sizes(search, FrozenNet(model), x, y),), model)
        sizes = in_batches(run, batch_size, images.x, away)[0]
    else:
        sizes = _found_sizes(search, model, images._replace(y=away), batch_size)
    over = images.x - centre if chosen.centred else images.x
    lengths = np.maximum(np.linalg.norm(over.reshape(len(over), -1), axis=1), 1e-12)
    wanted = np.isfinite(sizes) & (images.correct if chosen.correct else True)
    return np.asarray(sizes[wanted] / lengths[wanted])


def _search(definition: Definition, attack: Attack | str | None) -> Any:
    """The attack that a definition is asked of."""
    if attack is None:
        threat = L2(box=definition.box)
        return _Search(threat=threat, steps=definition.steps, max_step=definition.max_step)
    chosen: Attack = registry.parse("attack", attack)
    if chosen.contract != "minimal" or chosen.threat.name != "l2":
        raise validate.invalid("attack", "a minimal attack in l2", chosen)
    if type(chosen) is not HighConfidence:
        return chosen
    return _Climb(**{field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)})


def _found_sizes(attack: Attack, model: keras.Model, images: ImageSet, batch_size: int) -> np.ndarray:
    """(N,) norms of the perturbations; 0 where y is not the predicted class, NaN where none was found."""
    examples = make_examples(attack, images, 0, None, None)
    found = attack_examples(model, images, examples, attack, batch_size)
    return np.where(found.clean, np.where(found.success, found.distance, np.nan), 0.0)


SHARES = (0.2, 0.5, 1.0)
"""Of the reference radius, at which Deep Defense compares models."""
SCAN, HALVINGS = 1 / 64, 8
"""Steps in which `reference_eps` looks for a radius, and how often it halves the step in which it is."""


def reference_eps(
    model: keras.Model, x: Any, y: Any, accuracy: float = 0.5, *, batch_size: int = 256
) -> float:
    """The least eps, in linf, at which FGSM without the box leaves no more than this accuracy; Deep Defense's
    eps_ref where the model is theirs. Models are compared at 0.2, 0.5 and 1 of it.

    FGSM's accuracy may rise again with eps: radii are looked at from 0 up, 1/64 apart, and the first step
    that crosses is halved 8 times.

    Args:
        model: as in `attack`.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        accuracy: share of all images.
        batch_size: images at a time.

    Raises:
        InvalidInput: as `attack`; the accuracy is higher at every eps up to 1.

    Cost: 9 forward-backward passes an image, and one more for each 1/64.
    """
    validate.number("accuracy", accuracy, low=0.0, high=1.0)
    images = classify(model, x, y, batch_size)
    fgsm = FGSM(threat=Linf(eps=1.0, box=False))

    def left(eps: float) -> float:
        examples = make_examples(fgsm, images, 0, eps, None)
        found = attack_examples(model, images, examples, fgsm, batch_size)
        return float((found.clean & ~found.success).mean())

    high, lowest = 0.0, 1.0
    while lowest > accuracy and high < 1.0:
        high += SCAN
        lowest = min(lowest, left(high))
    if lowest > accuracy:
        found = f"{lowest:.1%} at the least: its gradients may be masked"
        raise validate.unusable(
            "model", f"one that FGSM brings to {accuracy:.0%}, with an eps up to 1", found
        )
    low = high - SCAN
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if left(middle) <= accuracy else (middle, high)
    return high


def _fits(shape: tuple[int, ...], image: tuple[int, ...]) -> bool:
    """Whether an array of a shape broadcasts to an image."""
    return len(shape) <= 3 and all(n in (1, m) for n, m in zip(shape[::-1], image[::-1], strict=False))


def _sizes(search: Any, net: Any, x: Tensor, y: Tensor) -> Tensor:
    """(B,) norms of the perturbations; 0 where y is not the predicted class."""
    task = Task(net, Examples.of_batch(x, y))
    state = search.advance(task, search.begin(task), search.rounds)
    found = expand_like(ops.cast(state["best_norm"] < NOTHING, "float32"), x)
    sizes = search.threat.norm(found * (state["best"] - x) + (1.0 - found) * (state["x"] - x))
    return ops.where(task.fooled(task.logits(x)), 0.0, sizes)
