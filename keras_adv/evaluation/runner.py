"""Runs an attack over a data set, and spends passes only on images that still need them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import noise, registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.attacks.base import VERIFICATION_DRAW
from keras_adv.attacks.host import HostAttack
from keras_adv.attacks.task import Examples
from keras_adv.evaluation import answers, compiled, goals
from keras_adv.evaluation.image_set import ImageSet, classify
from keras_adv.evaluation.journal import Journal
from keras_adv.evaluation.slots import Finished, Slots, host_batches, in_batches

Progress = Callable[[int, int], None]
"""Called with (images finished, images)."""


class Stage(NamedTuple):
    """How far an attack on a data set is.

    Attributes:
        done: images that the part at work, or one before it, is done with.
        total: images that are attacked.
        part: the spec of the part at work.
        number: which part it is, from 1 on.
        parts: how many there are.
        spent: passes so far, a forward pass counted as a third of one forward and backward.
        left: those that are left if no more images fall.
    """

    done: int
    total: int
    part: str
    number: int
    parts: int
    spent: float
    left: float


FORWARD_SHARE = 1 / 3
"""What a forward pass costs beside one forward and backward."""

COMPARING_DRAWS = 20
"""Draws of a random net over which the points of an attack are compared."""

JUDGING_DRAWS = 101
"""Fresh draws of a random net, most of which decide whether an image is a mistake."""


class Result(NamedTuple):
    """An attack on a data set, one row an image (NumPy).

    Attributes:
        images: adversarial images; the clean one where it was misclassified anyway or, for a minimal
            attack, where none was found.
        clean: bool, the clean image is classified correctly.
        success: bool, `images` are misclassified (so true where `clean` is false), or reach their target.
        distance: norm of the change in the attack's threat.
        passes: spent on the image: forward-backward, or forward for an attack without gradients.
        forward_passes: those of `passes` that were forward alone.
        seconds: wall time of the whole run, compilation included.
        parts: for an attack of several parts, spec -> images standing after it; else empty.
        verdicts: of a random net (N, draws) bool, whether `images` are misclassified in each of the fresh
            draws that judged them, most of which are `success`; else None.
    """

    images: np.ndarray
    clean: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    passes: np.ndarray
    forward_passes: np.ndarray
    seconds: float
    parts: dict[str, int]
    verdicts: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Result:
        """The result of these images alone; `parts` are only known of all."""
        kept: dict[str, Any] = {
            name: None if (v := getattr(self, name)) is None else v[rows] for name in _PER_IMAGE
        }
        return self._replace(**kept, parts=self.parts if rows.all() else {})


_PER_IMAGE = ("images", "clean", "success", "distance", "passes", "forward_passes", "verdicts")


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
        progress: called with (images finished, images).
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
    run = _Run(model, images, examples, attack, batch_size, stages, only, finished)
    for number in range(len(run.of_attack)):
        run.part(number, folder)
    return run.result(time.perf_counter() - started)


class _Run:
    """An attack on a data set, part by part: each goes on with the images that stand."""

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
        self.of_attack = attack.parts(images.classes)
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

    def part(self, number: int, folder: Path | None) -> None:
        """Runs one part."""
        part, queue, examples = self.of_attack[number], self.standing, self.examples
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
        self._verify(examples)
        name = registry.spec(part)
        self.parts[name if name not in self.parts else f"{name} #{number + 1}"] = len(self.standing)

    def _tell(self, number: int, under_way: int = 0) -> None:
        """Says how far it is; the images that the part waits for have taken so many rounds."""
        if self.stages is None:
            return
        costs = [self._weight(part, part.rounds) for part in self.of_attack[number:]]
        taken = under_way * self._weight(self.of_attack[number], 1)
        left = self.waiting * costs[0] - taken + (len(self.standing) - self.early) * sum(costs[1:])
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
            slots.tell, self.in_slots = (lambda rounds: self._tell(number, rounds)), True
            run = slots.run()
        for finished in run:
            journal.add(finished)
            yield finished
        self.in_slots = False
        journal.write()

    def _verify(self, examples: Examples) -> None:
        """Asks the model about the offered images of the rows that stand; stores images, success and
        distance."""
        rows = self.standing
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
