"""Pictures of experiments, from the same attacks as their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure

from keras_adv import registry
from keras_adv.evaluation.embedding import pictures
from keras_adv.experiments.subjects import Subject

WIDTH = 6.4


class Plot(Protocol):
    """A picture of all rows; a frozen dataclass."""

    @property
    def title(self) -> str:
        """What it shows."""
        ...

    def draw(self, subjects: Mapping[str, Subject]) -> Figure:
        """The picture of these nets, by label."""
        ...


@dataclass(frozen=True)
class OverEps:
    """Robust accuracy over eps, a line for each net.

    Attributes:
        attack: spec.
        eps: the radii.
        step: as of `measures.Area`.
    """

    attack: str
    eps: tuple[float, ...]
    step: float | None = None

    @property
    def title(self) -> str:
        """What it shows."""
        return f"Percent correct over eps, {self.attack}"

    def draw(self, subjects: Mapping[str, Subject]) -> Figure:
        """The picture."""
        figure, axes = _axes("eps", "percent correct")
        for label, one in subjects.items():
            robust = [one.images().correct.mean(), *one.curve(self.attack, self.eps, self.step)]
            axes.plot([0.0, *self.eps], 100 * np.array(robust), marker="o", label=label)
        axes.set_ylim(0, 102)
        axes.legend(frameon=False)
        return figure


@dataclass(frozen=True)
class Sizes:
    """How large the perturbations of a minimal attack are: percent of the correct images that are left over
    their norm.

    Attributes:
        attack: spec.
    """

    attack: str

    @property
    def title(self) -> str:
        """What it shows."""
        return (
            f"Percent of the correct images that a perturbation of this norm does not change, {self.attack}"
        )

    def draw(self, subjects: Mapping[str, Subject]) -> Figure:
        """The picture."""
        norm = registry.parse("attack", self.attack).threat.norm_name
        figure, axes = _axes(f"{norm} norm", "percent left")
        for label, one in subjects.items():
            result = one.attacked(self.attack)
            sizes = np.sort(np.where(result.success, result.distance, np.inf)[result.clean])
            found = sizes[np.isfinite(sizes)]
            left = 100 * (1 - np.arange(len(found) + 1) / max(1, len(sizes)))
            axes.step([0.0, *found], left, where="post", label=label)
        axes.legend(frameon=False)
        return figure


OF_FEATURES = {
    "map": ("t-SNE of the features of {row}, clean and under {attack}", pictures.tsne_map),
    "classes": (
        "Distances of class means of {row}, and what {attack} makes of the classes",
        pictures.class_map,
    ),
    "stability": (
        "Sensitivity of the features of {row} to {attack}, and its gradient landscape",
        pictures.stability,
    ),
}


@dataclass(frozen=True)
class Features:
    """A picture of the features of one net (`evaluation.embedding.pictures`).

    Attributes:
        picture: one of `OF_FEATURES`.
        attack: spec.
        row: label of the net.
    """

    picture: str
    attack: str
    row: str

    @property
    def title(self) -> str:
        """What it shows."""
        return OF_FEATURES[self.picture][0].format(row=self.row, attack=self.attack)

    def draw(self, subjects: Mapping[str, Subject]) -> Figure:
        """The picture."""
        return OF_FEATURES[self.picture][1](subjects[self.row].embedding(self.attack))


@dataclass(frozen=True)
class Examples:
    """Images that an attack changed, for each net, with what it takes them for.

    Attributes:
        attack: spec.
        count: images of each net.
        targets: as in `keras_adv.attack`.
    """

    attack: str
    count: int = 8
    targets: str | None = None

    @property
    def title(self) -> str:
        """What it shows."""
        return f"Images before and after {self.attack}, with the class before and after"

    def draw(self, subjects: Mapping[str, Subject]) -> Figure:
        """The picture: two rows of images for each net."""
        figure = Figure(figsize=(WIDTH, 1.9 * len(subjects)), layout="constrained")
        grid = figure.subplots(2 * len(subjects), self.count, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for number, (label, one) in enumerate(subjects.items()):
            images, result = one.images(), one.attacked(self.attack, False, self.targets)
            rows = np.flatnonzero(result.clean & result.success)[: self.count]
            classes = one.model.predict(result.images[rows], verbose=0).argmax(1) if len(rows) else rows
            grid[2 * number, 0].set_title(label, loc="left", fontsize=8)
            for column, row in enumerate(rows):
                before, after = grid[2 * number, column], grid[2 * number + 1, column]
                for axes, picture in ((before, images.x[row]), (after, result.images[row])):
                    axes.imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1)
                after.set_title(f"{images.y[row]} → {classes[column]}", fontsize=7)
        return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
