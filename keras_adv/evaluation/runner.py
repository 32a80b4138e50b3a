"""Runs an attack over a data set, and spends passes only on images that still need them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import noise, registry, validate
from keras_adv.attacks import Attack
from keras_adv.attacks.host import HostAttack
from keras_adv.evaluation import cache, goals
from keras_adv.evaluation.checks import check_logits, check_model
from keras_adv.evaluation.journal import Journal
from keras_adv.evaluation.slots import Finished, Slots, in_batches
from keras_adv.losses import decision

Progress = Callable[[int, int], None]


class Result(NamedTuple):
    """An attack on a data set, one row an image (NumPy).

    Attributes:
        images: adversarial images; the clean one where it was misclassified anyway or, for a minimal
            attack, where none was found.
        clean: bool, the clean image is classified correctly.
        success: bool, `images` are misclassified (so true where `clean` is false), or reach their target.
        distance: norm of the change in the attack's threat.
        gradients: passes spent on the image: forward-backward, or forward for an attack without gradients.
        seconds: wall time of the whole run, compilation included.
        parts: for an attack of several parts, spec -> images standing after it; else empty.
    """

    images: np.ndarray
    clean: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    gradients: np.ndarray
    seconds: float
    parts: dict[str, int]


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

    Args:
        model: Keras model, images (B, H, W, C) in [0, 1] -> logits (B, K). It is left as it was: inference
            mode, no state update.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attack: an attack or its spec, "pgd(threat=linf(eps=8/255), steps=20)".
        eps: the radius in place of the threat's own: a number, or one for each image (N,).
        targets: classes to reach (N,), or "next", "random", "least_likely", "runner_up"; None: any mistake will do.
        batch_size: images at a time; changes speed and memory, not results.
        seed: of random starts; image i of the set draws from (seed, i).
        progress: called with (images finished, images).
        resume: folder where finished images are kept: the same call, killed and made again, goes on.

    Returns:
        `Result`, in the order of x.

    Raises:
        InvalidInput: unusable model, images, labels or targets, an unknown attack, one that needs an eps, more
            classes or a target form that is not there.
    """
    chosen: Attack = registry.parse("attack", attack)
    started = time.perf_counter()
    folder = None if resume is None else validate.path(resume, "resume")
    x, y, logits = classify(model, x, y, batch_size, seed)
    seeds = np.asarray(noise.seeds(seed, np.arange(len(x), dtype="uint32")))
    fields = goals.fields(chosen, x, y, seeds, logits, eps, targets)
    run = _Run(model, chosen, fields, logits, batch_size, progress)
    for number, part in enumerate(chosen.parts(logits.shape[1])):
        run.part(number, part, folder)
    return run.result(time.perf_counter() - started)


class _Run:
    """An attack on a data set, part by part: each goes on with the images that stand."""

    def __init__(
        self,
        model: keras.Model,
        chosen: Attack,
        fields: tuple[Any, ...],
        logits: np.ndarray,
        batch_size: int,
        progress: Progress | None,
    ) -> None:
        self.model, self.chosen, self.fields = model, chosen, fields
        self.batch_size, self.progress, self.classes = batch_size, progress, logits.shape[1]
        images, labels = fields[:2]
        self.images, self.clean = images.copy(), np.asarray(decision(logits)) == labels
        self.success, self.distance = ~self.clean, np.zeros(len(labels), "float32")
        self.cost = np.zeros(len(labels), "int64")
        self.parts: dict[str, int] = {}

    @property
    def standing(self) -> np.ndarray:
        """Numbers of the images that are classified correctly still."""
        return np.flatnonzero(self.clean & ~self.success)

    def part(self, number: int, part: Attack, folder: Path | None) -> None:
        """Runs one part."""
        queue, fields = self.standing, self.fields
        if number:  # every part draws its own random starts
            fields = (*fields[:2], np.asarray(noise.fold(fields[2], number)), *fields[3:])
        journal = Journal(folder, registry.spec(part), number, self.model, *fields)
        for index, found, used in self._finish(part, fields, queue, journal):
            self.images[index] = found
            self.cost[index] += used * part.gradients(self.classes) + part.opening(self.classes)
            if self.progress is not None:
                queue = queue[~np.isin(queue, index)]
                self.progress(len(self.clean) - len(queue), len(self.clean))
        self._judge(fields)
        name = registry.spec(part)
        self.parts[name if name not in self.parts else f"{name} #{number + 1}"] = len(self.standing)

    def _finish(
        self, part: Attack, fields: tuple[Any, ...], queue: np.ndarray, journal: Journal
    ) -> Iterator[Finished]:
        """Images of the queue as they finish; first those that the journal knows."""
        for index, images, rounds in journal.known():
            # the folder may also hold images that an earlier part of this attack has broken, or hold one twice
            wanted = np.isin(index, queue)
            queue = queue[~np.isin(queue, index)]
            if wanted.any():
                yield index[wanted], images[wanted], rounds[wanted]
        compiled = cache.loop(self.model, part)
        if isinstance(part, HostAttack):
            run = compiled.run(fields, queue, self.batch_size)
        else:
            run = Slots(part, compiled, fields, queue, self.batch_size).run()
        for finished in run:
            journal.add(finished)
            yield finished
        journal.write()

    def _judge(self, fields: tuple[Any, ...]) -> None:
        """Takes of the candidates what the model, as it decides, is fooled by."""
        rows = self.standing
        if not len(rows):
            return
        judge = cache.judge(self.model, self.chosen)
        given = [None if field is None else field[rows] for field in fields]
        judged = in_batches(lambda found, *own: judge(own, found), self.batch_size, self.images[rows], *given)
        self.images[rows], self.success[rows], self.distance[rows] = judged

    def result(self, seconds: float) -> Result:
        """What the parts have done, in these seconds."""
        parts = self.parts if len(self.parts) > 1 else {}
        return Result(self.images, self.clean, self.success, self.distance, self.cost, seconds, parts)


def classify(
    model: keras.Model, x: Any, y: Any, batch_size: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, labels, logits), all checked. Raises InvalidInput as `attack`."""
    shape, classes = check_model(model)
    x = validate.images(x, shape=shape)
    y = validate.labels(y, len(x), classes)
    validate.number("batch_size", batch_size, low=1, whole=True)
    validate.seed(seed)
    run = cache.logits(model)
    logits = in_batches(lambda part: (run(part),), batch_size, x)[0]
    check_logits(logits)
    return x, y, logits
