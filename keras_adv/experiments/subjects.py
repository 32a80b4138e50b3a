"""A net of an experiment, and everything that is measured of it, each attack once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv import registry
from keras_adv.attacks import Attack
from keras_adv.callbacks import rows_of
from keras_adv.data import Data
from keras_adv.evaluation import Result, attack, embed, select
from keras_adv.evaluation.embedding import Embedding
from keras_adv.evaluation.every_step import every_step
from keras_adv.evaluation.image_set import ImageSet, classify
from keras_adv.evaluation.records import Record
from keras_adv.recipes import Recipe

BATCH = 200
"""Images that are attacked at a time."""


class Subject:
    """A net that is measured, at one seed.

    Args:
        model: the net.
        recipe: what it was trained by.
        data: its data set.
        n: test images that are measured.
        sample: seed of their choice; None: the first ones.
        folder: where finished attacks are kept, and the training's history if there is one.
        adjust: attack -> attack, for budgets with fewer steps.
        other: label of another row -> its subject.
        student: recipe -> a net that it distils from this one's answers.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: Recipe,
        data: Data,
        *,
        n: int,
        sample: int | None,
        folder: Path,
        adjust: Callable[[Attack], Attack],
        other: Callable[[str], Subject],
        student: Callable[[str], keras.Model],
    ) -> None:
        self.model, self.recipe, self.data = model, recipe, data
        self.n, self.sample, self.folder, self.adjust, self.other = n, sample, folder, adjust, other
        self.student = functools.cache(student)
        self.images = functools.cache(self._images)
        self._results = functools.cache(self._attacked)
        self.embedding = functools.cache(self._embedding)

    @functools.cached_property
    def mean_image(self) -> np.ndarray:
        """(H, W, C), of the training images (on disk: of 1,000)."""
        return self.data.sample().mean(0, dtype="float64").astype("float32")

    def _images(self, correct: bool = False) -> ImageSet:
        x, y = self.data.test
        rows = select(x, y, self.n, sample=self.sample, correct=[self.model] if correct else [])
        return classify(self.model, np.asarray(x[rows]), y[rows], BATCH)

    def attacked(self, spec: str, correct: bool = False, targets: str | None = None) -> Result:
        """What an attack does to the images, or to as many that are classified correctly."""
        return self._results(spec, correct, targets)

    def held(self, spec: str, correct: bool = False) -> np.ndarray:
        """(N,) bool, which images are classified correctly, clean and attacked. A minimal attack counts
        within the eps of its threat, if it has one."""
        result, method = self.attacked(spec, correct), self.parsed(spec)
        if method.contract == "minimal" and method.threat.eps is None:
            return result.clean & ~result.success
        return Record(method, result).held

    def _attacked(self, spec: str, correct: bool, targets: str | None) -> Result:
        images = self.images(correct)
        how: dict[str, Any] = {"targets": targets, "batch_size": BATCH, "resume": self.folder / "attacks"}
        return attack(self.model, images.x, images.y, self.parsed(spec), **how)

    def curve(self, spec: str, eps: tuple[float, ...], step: float | None = None) -> list[float]:
        """Robust accuracy at each radius: of a minimal attack by its norms, of others each by itself."""
        method: Attack = registry.parse("attack", spec)
        if method.contract == "minimal":
            within = [method.replace(threat=method.threat.replace(eps=one)) for one in eps]
            return [float(Record(at, self.attacked(spec)).held.mean()) for at in within]
        found = []
        for one in eps:
            ball = method.replace(threat=method.threat.replace(eps=one))
            at = ball if step is None else ball.replace(step_size=step / one)
            found.append(float(self.held(registry.spec(at, full=True)).mean()))
        return found

    def _embedding(self, *specs: str) -> Embedding:
        images, attacks = self.images(), [self.parsed(spec) for spec in specs]
        return embed(self.model, images.x, images.y, attacks, batch_size=BATCH)

    def geometry(self, *specs: str) -> Mapping[str, Any] | None:
        """The figures of `embed` for attacks; None where a minimal one finds no image."""
        for spec in specs:
            if self.parsed(spec).contract == "minimal":
                result = self.attacked(spec)
                if not (result.clean & result.success).any():
                    return None
        return self.embedding(*specs).summary()

    def transferred(self, spec: str, source: str) -> np.ndarray:
        """(N,) bool, which of the images that an attack makes on another row's net this one gets right."""
        return self._right(self.other(source).model, spec)

    def by_student(self, spec: str, recipe: str) -> np.ndarray:
        """(N,) bool, which of the images that an attack makes on this net's student it gets right."""
        return self._right(self.student(recipe), spec)

    def _right(self, source: keras.Model, spec: str) -> np.ndarray:
        """As in the papers a bounded attack takes all its steps: the source's first mistake is its own."""
        images, method = self.images(), self.parsed(spec)
        seen = classify(source, images.x, images.y, BATCH)
        sent = every_step(source, seen, method, BATCH, 0)
        if sent is None:
            sent = attack(source, images.x, images.y, method, batch_size=BATCH).images
        return self.right(sent)

    def right(self, x: np.ndarray, correct: bool = False) -> np.ndarray:
        """(N,) bool, which of the images that were made of the net's own are classified correctly."""
        return classify(self.model, x, self.images(correct).y, BATCH).correct

    def adaptive(self, threat: str) -> str:
        """The spec of the attack that knows this net's defense."""
        return registry.spec(self.recipe.defense.adaptive_attack(threat), full=True)

    def parsed(self, spec: str) -> Attack:
        """The attack of a spec, as the budget has it."""
        return self.adjust(registry.parse("attack", spec))

    def logged(self, name: str) -> float | None:
        """The last value of a column of the training's history."""
        file = self.folder / "history.csv"
        rows = rows_of(file) if file.is_file() else []
        return rows[-1].get(name) if rows else None
