"""What an experiment of a paper is made of, as data: nets, columns, the paper's figures and claims."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_adv.experiments.measures import Measure
from keras_adv.experiments.plots import Plot

STAGES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the epochs of a training after which its net can be looked at."""


@dataclass(frozen=True)
class Net:
    """How a row's net is got.

    Attributes:
        recipe: the authors' setting, a recipe or one of its presets: what budget "paper" trains.
        small: what budget "small" has in its place: an entry of the zoo, or fields of the recipe that change.
        start: the net that training starts from; None: fresh weights, or what the recipe says.
        after: the net as it was after this share of its epochs, one of `STAGES`; None: the trained one.
    """

    recipe: str
    small: str | Mapping[str, Any]
    start: Net | None = None
    after: float | None = None


@dataclass(frozen=True)
class Row:
    """A net, and what the paper's table says of it.

    Attributes:
        label: the paper's name of it.
        net: the net.
        paper: the paper's figures, one for each column that it has, in their order; None: not given.
    """

    label: str
    net: Net
    paper: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Column:
    """A figure that is measured of every row.

    Attributes:
        head: its title.
        measure: how it is measured.
        own: whether it is ours, beside what the paper has.
    """

    head: str
    measure: Measure
    own: bool = False


@dataclass(frozen=True)
class Claim:
    """The figure of one cell is above that of another.

    Attributes:
        text: the claim, in words.
        high: (row, column) of the one.
        low: (row, column) of the other.
        by: how far above it is at least.
    """

    text: str
    high: tuple[str, str]
    low: tuple[str, str]
    by: float = 0.0


@dataclass(frozen=True)
class Experiment:
    """A table or a figure of a paper.

    Attributes:
        name: "deep_defense.table1".
        item: where it stands: "Deep Defense, table 1".
        title: what it shows.
        columns: the figures, from left to right.
        rows: the nets, from top to bottom.
        claims: what the paper reads from it.
        plots: pictures.
        note: what a reader must know of protocol and budget.
        images: how many images budget "paper" measures: the paper's count.
        sample: the images are a random subset (of this seed), as the paper's; None: the first ones.
    """

    name: str
    item: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    plots: tuple[Plot, ...] = ()
    note: str = ""
    images: int = 10000
    sample: int | None = None

    def papers(self, row: Row) -> dict[str, float | None]:
        """What the paper has of a row, by column."""
        heads = [column.head for column in self.columns if not column.own]
        return dict(zip(heads, row.paper or (None,) * len(heads), strict=True))
