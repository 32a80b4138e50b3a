"""Figures of the features of a net, clean and attacked (`keras_adv.evaluation.embed`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_adv.experiments.measures import Measured
from keras_adv.experiments.subjects import Subject


@dataclass(frozen=True)
class Geometry:
    """A figure of the features (`keras_adv.evaluation.embed`).

    Attributes:
        key: its name in the summary.
        attack: spec; of the images that it makes, or with `clean` of those it starts from.
        clean: of the clean images.
        percent: the figure is a share.
    """

    key: str
    attack: str
    clean: bool = False
    percent: bool = False

    def __call__(self, subject: Subject) -> Measured:
        if (summary := subject.geometry(self.attack)) is None:
            return Measured(None)
        part: Any = summary["clean"] if self.clean else summary["attacks"][0]
        value = part[self.key]
        if isinstance(value, list):  # mean (or median) and deviation over images
            middle, deviation = value
            return Measured(middle, None if middle is None else deviation / part["n"] ** 0.5)
        if value is None or not self.percent:
            return Measured(value)
        return Measured(100 * value, 100 * (value * (1 - value) / part["n"]) ** 0.5)  # of a share


@dataclass(frozen=True)
class Angle:
    """Mean angle, in radians, between what two attacks do to the features.

    Attributes:
        first: spec.
        attack: spec of the other.
    """

    first: str
    attack: str

    def __call__(self, subject: Subject) -> Measured:
        if (summary := subject.geometry(self.first, self.attack)) is None:
            return Measured(None)
        other: Any = summary["attacks"][1]
        mean, deviation = other["angle"]
        return Measured(mean, None if deviation is None else deviation / other["n"] ** 0.5)


@dataclass(frozen=True)
class Bound:
    """AFD's bound on the robust error (sec. 6.4), from the features of an attack; vacuous above 1."""

    attack: str

    def __call__(self, subject: Subject) -> Measured:
        summary = subject.geometry(self.attack)
        return Measured(None if summary is None else summary["attacks"][0]["bound"]["bound"])
