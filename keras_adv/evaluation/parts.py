"""An attack on a data set, part by part, on the images that still need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from keras_adv import noise, registry, validate
from keras_adv.attacks import Attack
from keras_adv.attacks.base import VERIFICATION_DRAW
from keras_adv.attacks.host import HostAttack
from keras_adv.attacks.task import Examples
from keras_adv.evaluation import answers, compiled
from keras_adv.evaluation.image_set import ImageSet
from keras_adv.evaluation.journal import Journal
from keras_adv.evaluation.result import Result, Stage
from keras_adv.evaluation.slots import Finished, Slots, host_batches, in_batches

FORWARD_SHARE = 1 / 3
"""What a forward pass costs beside one forward and backward."""

COMPARING_DRAWS = 20
"""Draws of a random net over which the points of an attack are compared."""

JUDGING_DRAWS = 101
"""Fresh draws of a random net, most of which decide whether an image is a mistake."""


class PartByPart:
    """An attack on a data set, part by part: each goes on with the images that stand, or, of a minimal
    attack, looks for something nearer to every image."""

    def __init__(
        self,
        model: keras.Model,
        images: ImageSet,
        examples: Examples,
        attack: Attack,
        batch_size: int,
        stages: Callable[[Stage], None] | None,
        only: np.ndarray | None,
        finished: bool,
    ) -> None:
        self.model, self.attack, self.examples = model, attack, examples
        self.only, self.finished = np.full(len(images.y), True) if only is None else only, finished
        self.batch_size, self.stages, self.classes = batch_size, stages, images.classes
        self.of_attack, self.minimal = attack.parts(images.classes), attack.contract == "minimal"
        self.waiting, self.in_slots = 0, False
        self.spent, self.early = 0.0, 0  # early: with the part at work before its last round, so broken
        self.images, self.clean, self.logits = images.x.copy(), images.correct, images.logits
        self.random = images.random
        self.success, self.distance = ~self.clean, np.zeros(len(images.y), "float32")
        self.passes, self.forward_passes = np.zeros((2, len(images.y)), "int64")
        self.parts: dict[str, int] = {}
        self.verdicts = np.zeros((len(images.y), JUDGING_DRAWS), bool) if images.random else None

    @property
    def standing(self) -> np.ndarray:
        """The rows of the images that are to be attacked and are still classified correctly."""
        return np.flatnonzero(self.only & self.clean & ~self.success)

    @property
    def wanted(self) -> np.ndarray:
        """The rows of the images that the next part attacks."""
        return np.flatnonzero(self.only & self.clean) if self.minimal else self.standing

    def part(self, number: int, folder: Path | None) -> None:
        """Runs one part."""
        part, queue, examples = self.of_attack[number], self.wanted, self.examples
        found = self._found() if number and self.minimal else None
        if number:  # every part draws its own random starts
            examples = examples._replace(seeds=np.asarray(noise.fold(examples.seeds, number)))
        journal = Journal(folder, self._answers(folder), registry.spec(part), number, self.model, *examples)
        self.waiting, self.early = len(queue), 0
        self._tell(number)
        for done in self._finish(number, examples, queue, journal):
            self.images[done.rows] = done.images
            self._count(part, done)
            self.early += int((done.rounds < part.rounds).sum())
            self.waiting -= len(done.rows)
            if not self.in_slots:  # which say it themselves
                self._tell(number)
        self._verify(examples, queue)
        if found is not None:
            self._keep_nearest(found)
        name = registry.spec(part)
        self.parts[name if name not in self.parts else f"{name} #{number + 1}"] = len(self.standing)

    def _tell(self, number: int, under_way: int = 0) -> None:
        """Says how far it is; the images that the part waits for have taken so many rounds."""
        if self.stages is None:
            return
        costs = [self._weight(part, part.rounds) for part in self.of_attack[number:]]
        taken = under_way * self._weight(self.of_attack[number], 1)
        later = len(self.wanted) - (0 if self.minimal else self.early)
        left = self.waiting * costs[0] - taken + later * sum(costs[1:])
        total, spec = int(self.only.sum()), registry.spec(self.of_attack[number])
        place = (number + 1, len(self.of_attack))
        self.stages(Stage(total - self.waiting, total, spec, *place, self.spent + taken, max(left, 0.0)))

    def _weight(self, part: Attack, rounds: int) -> float:
        """Passes of so many rounds of one image."""
        forward = part.passes_per_round.get("forward", 0)
        return rounds * (part.round_cost(self.classes) - forward * (1 - FORWARD_SHARE))

    def _count(self, part: Attack, done: Finished) -> None:
        judging = COMPARING_DRAWS if self.random else 0
        each, first = part.round_cost(self.classes) + judging, part.start_cost(self.classes)
        self.passes[done.rows] += done.rounds * each + first
        each, first = (p.get("forward", 0) for p in (part.passes_per_round, part.passes_at_start))
        self.forward_passes[done.rows] += done.rounds * (each + judging) + first
        self.spent += self._weight(part, int(done.rounds.sum()))

    def _answers(self, folder: Path | None) -> np.ndarray:
        """What the model computes, as far as a journal needs it: a net without a config, or with a function
        in a layer, is not told from another by its weights."""
        if folder is None:
            return np.zeros(0)
        noise_images = answers.beside(0, self.images.shape[1:])
        return np.concatenate([self.logits[:100], answers.fresh(self.model, noise_images)])

    def _finish(
        self, number: int, examples: Examples, queue: np.ndarray, journal: Journal
    ) -> Iterator[Finished]:
        """Images of the queue as they finish; first those that the journal knows."""
        part = self.of_attack[number]
        for known in journal.known():
            # the folder may also hold images that an earlier part of this attack has broken, or
            # hold one twice
            wanted = np.isin(known.rows, queue)
            queue = queue[~np.isin(queue, known.rows)]
            if wanted.any():
                yield known.take(wanted)
        if self.finished and len(queue):
            found = f"{len(queue)} images without a result of {part}"
            raise validate.unusable("resume", "a folder with the results of all shards", found)
        if isinstance(part, HostAttack):
            search = compiled.host_search(self.model, part)
            run = host_batches(search, examples, queue, self.batch_size)
        else:
            loop = compiled.attack_loop(self.model, part, COMPARING_DRAWS if self.random else 1)
            slots = Slots(part, loop, examples, queue, self.batch_size)
            self.in_slots = True
            if self.stages is not None:
                slots.tell = lambda rounds: self._tell(number, rounds)
            run = slots.run()
        for finished in run:
            journal.add(finished)
            yield finished
        self.in_slots = False
        journal.write()

    def _found(self) -> list[np.ndarray]:
        """What the parts so far have come to: copies of success and distance, and of all else that is one
        row an image."""
        rows = [self.success, self.distance, self.images, self.verdicts]
        return [part.copy() for part in rows if part is not None]

    def _keep_nearest(self, before: list[np.ndarray]) -> None:
        """Puts back what the parts before the last had found where that has found nothing nearer."""
        success, distance, *_ = before
        kept = success & (~self.success | (distance <= self.distance))
        for now, old in zip([self.success, self.distance, self.images, self.verdicts], before, strict=False):
            if now is not None:
                now[kept] = old[kept]

    def _verify(self, examples: Examples, rows: np.ndarray) -> None:
        """Asks the model about the offered images of these rows; stores images, success and distance."""
        if not len(rows):
            return
        verify, asked = compiled.verification(self.model, self.attack), examples.take(rows)
        verified = in_batches(verify, self.batch_size, self.images[rows], asked)
        self.images[rows], self.success[rows], self.distance[rows] = verified
        if self.verdicts is not None:
            judge = compiled.verdicts(self.model)
            for n in range(JUDGING_DRAWS):
                draw = np.int32(VERIFICATION_DRAW + n)
                mistaken = in_batches(
                    lambda *part, draw=draw: (judge(*part, draw),), self.batch_size, self.images[rows], asked
                )
                self.verdicts[rows, n] = mistaken[0]
            self.success[rows] = self.verdicts[rows].mean(1) > 0.5

    def result(self, seconds: float) -> Result:
        """What the parts have done, in these seconds."""
        parts = self.parts if len(self.parts) > 1 else {}
        found = (self.images, self.clean, self.success, self.distance)
        return Result(*found, self.passes, self.forward_passes, seconds, parts, self.verdicts)
