"""The figures of tables, each measured of a `Subject`, with its standard error over images if it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from keras_adv import registry
from keras_adv.evaluation.protocols import ratios
from keras_adv.experiments.subjects import Subject


class Measured(NamedTuple):
    """A figure.

    Attributes:
        value: of a rate or a share, in percent; None: it does not exist for this net.
        error: its standard error over the images; None: not known.
    """

    value: float | None
    error: float | None = None


class Measure(Protocol):
    """A way to measure; a frozen dataclass, whose representation says what was measured."""

    def __call__(self, subject: Subject) -> Measured:
        """The figure of this net."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """Percent of the images that are classified correctly, clean or under an attack.

    Attributes:
        attack: spec; None: clean.
        correct: over the correctly classified images alone, as many as the experiment has.
        targets: as in `keras_adv.attack`.
    """

    attack: str | None = None
    correct: bool = False
    targets: str | None = None

    def __call__(self, subject: Subject) -> Measured:
        if self.attack is None:
            return share(subject.images(self.correct).correct)
        if self.targets is None:
            return share(subject.held(self.attack, self.correct))
        result = subject.attacked(self.attack, self.correct, self.targets)
        return share(subject.right(result.images, self.correct))  # another class than the target is wrong too


@dataclass(frozen=True)
class Error:
    """Percent of the clean images that are misclassified."""

    def __call__(self, subject: Subject) -> Measured:
        return share(~subject.images().correct)


@dataclass(frozen=True)
class Reached:
    """Percent of the correctly classified images that an attack brings to the class it is after.

    Attributes:
        attack: spec.
        targets: as in `keras_adv.attack`.
    """

    attack: str
    targets: str

    def __call__(self, subject: Subject) -> Measured:
        result = subject.attacked(self.attack, targets=self.targets)
        return share(result.success[result.clean])


@dataclass(frozen=True)
class Mistakes:
    """Percent of all images that are misclassified clean or under an attack.

    Attributes:
        attack: spec.
    """

    attack: str

    def __call__(self, subject: Subject) -> Measured:
        result = subject.attacked(self.attack)
        return share(result.success | ~result.clean)


@dataclass(frozen=True)
class Norm:
    """Size of the perturbations of an attack, over the images that were correct and are not.

    Attributes:
        attack: spec.
        statistic: "mean", "median", or "ratio", the mean of |r| / |x|.
    """

    attack: str
    statistic: str = "mean"

    def __call__(self, subject: Subject) -> Measured:
        result = subject.attacked(self.attack)
        found = result.clean & result.success
        if not found.any():
            return Measured(None)
        sizes = result.distance[found]
        if self.statistic == "ratio":
            x = subject.images().x[found]
            sizes = sizes / np.maximum(np.linalg.norm(x.reshape(len(x), -1), axis=1), 1e-12)
        median = self.statistic == "median"  # whose error is 1.25 times the mean's, of normal values
        error = (1.2533 if median else 1.0) * sizes.std() / len(sizes) ** 0.5
        return Measured(float(np.median(sizes) if median else sizes.mean()), float(error))


@dataclass(frozen=True)
class Rho:
    """rho as a paper defines it (`keras_adv.evaluation.rho`).

    Attributes:
        definition: the paper.
        attack: spec; None: the paper's DeepFool.
    """

    definition: str
    attack: str | None = None

    def __call__(self, subject: Subject) -> Measured:
        images, mean = subject.images(), subject.mean_image
        attack = None if self.attack is None else subject.parsed(self.attack)
        found = ratios(subject.model, images.x, images.y, self.definition, attack=attack, mean=mean)
        if not len(found):
            return Measured(None)
        return Measured(float(found.mean()), float(found.std() / len(found) ** 0.5))


@dataclass(frozen=True)
class Area:
    """The area under robust accuracy over eps, over the largest eps: the mean accuracy, at most 1.

    Attributes:
        attack: spec.
        eps: the radii, each attacked by itself; accuracy at 0 is the clean one.
        step: length of a step at every radius; None: as the attack has it, in shares of eps.
    """

    attack: str
    eps: tuple[float, ...]
    step: float | None = None

    def __call__(self, subject: Subject) -> Measured:
        at = [0.0, *self.eps]
        robust = [subject.images().correct.mean(), *subject.curve(self.attack, self.eps, self.step)]
        area = float(np.trapezoid(robust, at) / at[-1])
        return Measured(area, (0.25 / len(subject.images().y)) ** 0.5)  # at most that of one accuracy


@dataclass(frozen=True)
class At:
    """Percent correct at one of the eps of a curve, which is measured once for all of them."""

    attack: str
    eps: tuple[float, ...]
    one: float

    def __call__(self, subject: Subject) -> Measured:
        robust = subject.curve(self.attack, self.eps)[self.eps.index(self.one)]
        return Measured(100 * robust, 100 * (robust * (1 - robust) / len(subject.images().y)) ** 0.5)


@dataclass(frozen=True)
class Adaptive:
    """Percent correct under the attack that knows the net's own defense (`Defense.adaptive_attack`).

    Attributes:
        threat: spec, with an eps.
        correct: over the correctly classified images alone.
    """

    threat: str
    correct: bool = False

    def __call__(self, subject: Subject) -> Measured:
        return Accuracy(subject.adaptive(self.threat), self.correct)(subject)


@dataclass(frozen=True)
class OwnLoss:
    """Percent correct under an attack that climbs the loss the net was trained by (MAT, sec. 4.4).

    Attributes:
        attack: spec; its loss is replaced.
    """

    attack: str

    def __call__(self, subject: Subject) -> Measured:
        trained = [
            one for one in subject.recipe.defense.objectives() if one.name in ("mat_loss", "trades_loss")
        ]
        if not trained:
            return Measured(None)
        attack = registry.parse("attack", self.attack).replace(loss=trained[0])
        return Accuracy(registry.spec(attack, full=True))(subject)


@dataclass(frozen=True)
class Student:
    """Percent correct of the images that an attack makes on a net distilled from this one's answers.

    Attributes:
        attack: spec.
        recipe: of the student, a preset that lacks the teacher.
    """

    attack: str
    recipe: str

    def __call__(self, subject: Subject) -> Measured:
        return share(subject.by_student(self.attack, self.recipe))


@dataclass(frozen=True)
class Transferred:
    """Percent correct of the images that an attack makes on another net.

    Attributes:
        attack: spec.
        source: label of the row with that net.
    """

    attack: str
    source: str

    def __call__(self, subject: Subject) -> Measured:
        return share(subject.transferred(self.attack, self.source))


@dataclass(frozen=True)
class Logged:
    """The last value of a training's log; of a net of the zoo there is none.

    Attributes:
        name: the column of history.csv.
        percent: it is a share.
    """

    name: str
    percent: bool = False

    def __call__(self, subject: Subject) -> Measured:
        value = subject.logged(self.name)
        return Measured(None if value is None else value * (100 if self.percent else 1))


def share(true: np.ndarray) -> Measured:
    """Percent, with the binomial standard error."""
    if not len(true):
        return Measured(None)
    p = float(np.mean(true))
    return Measured(100 * p, 100 * (p * (1 - p) / len(true)) ** 0.5)
