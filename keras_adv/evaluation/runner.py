"""Runs an attack over a data set, and spends passes only on images that still need them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.attacks.task import Examples
from keras_adv.evaluation import goals
from keras_adv.evaluation.image_set import ImageSet, classify
from keras_adv.evaluation.parts import PartByPart
from keras_adv.evaluation.result import Result, Stage

Progress = Callable[[int, int], None]
"""Called with (images finished, images), of an attack of several parts by the part at work."""


@in_float32()
def attack(
    model: keras.Model,
    x: Any,
    y: Any,
    attack: Attack | str,
    *,
    eps: Any = None,
    targets: Any = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: Progress | None = None,
    resume: Path | str | None = None,
) -> Result:
    """Attacks every image of a data set that the model classifies correctly.

    A model that answers differently each time is attacked for all rounds, since a mistake of one draw proves
    nothing; the point whose mean margin over 20 draws is best is kept (20 more forward passes a round) and
    judged by most of 101 fresh draws. Give the attack an `eot` where it has one.

    Args:
        model: Keras model, images (B, H, W, C) in [0, 1] -> logits (B, K). It is left as it was: inference
            mode, no state update.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        attack: an attack or its spec, "pgd(threat=linf(eps=8/255), steps=20)".
        eps: the radius in place of the threat's own: a number, or one for each image (N,).
        targets: classes to reach (N,), or "next", "random", "least_likely", "runner_up"; None: any mistake
            will do.
        batch_size: images at a time; changes speed and memory, not results.
        seed: of random starts; image i of the set draws from (seed, i).
        progress: called with (images finished, images); of an attack of several parts, by the part at work.
        resume: folder where finished images are kept: the same call, killed and made again, goes on.

    Returns:
        `Result`, in the order of x.

    Raises:
        InvalidInput: unusable model, images, labels or targets, an unknown attack, one that needs an eps,
            more classes or a target form that is not there.

    >>> import keras_adv
    >>> model = keras_adv.zoo.load("critic_lenet_digits")
    >>> x, y = (part[:50] for part in keras_adv.data.load("digits").test)
    >>> result = keras_adv.attack(model, x, y, "fgsm(threat=linf(eps=0.1))")
    >>> float((~result.success).mean())  # robust accuracy
    0.94
    """
    chosen: Attack = registry.parse("attack", attack)
    folder = None if resume is None else validate.output_folder(resume, "resume")
    started = time.perf_counter()
    images = classify(model, x, y, batch_size, seed)
    examples = goals.make_examples(chosen, images, seed, eps, targets)
    told = None if progress is None else lambda stage: progress(stage.done, stage.total)
    return attack_examples(
        model, images, examples, chosen, batch_size, stages=told, folder=folder, started=started
    )


def attack_examples(
    model: keras.Model,
    images: ImageSet,
    examples: Examples,
    attack: Attack,
    batch_size: int,
    *,
    stages: Callable[[Stage], None] | None = None,
    folder: Path | None = None,
    started: float | None = None,
    only: np.ndarray | None = None,
    finished: bool = False,
) -> Result:
    """`attack` on what is checked and classified already: `examples` (NumPy) are those of `images`.

    Args:
        stages: called with how far it is, whenever images finish or rounds have been taken.
        only: (N,) bool, which images are attacked; None: all.
        finished: whether nothing is attacked, and `folder` must have all that would be.

    Raises:
        InvalidInput: it has not.
    """
    started = time.perf_counter() if started is None else started
    run = PartByPart(model, images, examples, attack, batch_size, stages, only, finished)
    for number in range(len(run.of_attack)):
        run.part(number, folder)
    return run.result(time.perf_counter() - started)
