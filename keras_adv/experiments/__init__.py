"""The tables and figures of the five documents: `run` makes one of them again, beside the paper's figures."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_adv import validate
from keras_adv.experiments import budgets
from keras_adv.experiments.base import Claim, Column, Experiment, Net, Row
from keras_adv.experiments.budgets import BUDGETS, Setting
from keras_adv.experiments.documents import DOCUMENTS
from keras_adv.experiments.running import Run

__all__ = [
    "ALL", "BUDGETS", "Claim", "Column", "Experiment", "Net", "Row", "Setting", "cost", "data_sets", "find",
    "run", "with_starts",
]  # fmt: skip

ALL: dict[str, Experiment] = {one.name: one for room in DOCUMENTS for one in room.EXPERIMENTS}
"""By name, in the order of the documents."""


def find(pattern: str) -> list[Experiment]:
    """The experiments whose name a pattern fits, "mat.*" say. Raises InvalidInput where none does."""
    found = [ALL[name] for name in ALL if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        validate.one_of("experiment", pattern, list(ALL))
    return found


def cost(experiment: Experiment, budget: str) -> str:
    """What a run takes: nets that are trained, their epochs, and images that are measured."""
    own = [one for row in experiment.rows for one in with_starts(row.net) if not budgets.entry(one, budget)]
    nets = {repr(net): net for net in (dataclasses.replace(one, after=None) for one in own)}
    trained = {name: budgets.recipe_of(net, budget, {}).epochs for name, net in nets.items()}
    images = budgets.images(experiment, budget)
    said = f"{len(trained)} nets trained, {sum(trained.values())} epochs" if trained else "nets of the zoo"
    return f"{said}; {len(experiment.columns)} figures of {images:,} images"


def with_starts(net: Net) -> list[Net]:
    """A net, and those that it starts from."""
    return [net, *(with_starts(net.start) if net.start else [])]


def data_sets(experiment: Experiment) -> set[str]:
    """The names of data sets for which `run` takes another source."""
    return {name for row in experiment.rows for name in budgets.data_sets(row.net)}


def run(
    name: str,
    out: Path | str,
    *,
    budget: str = "smoke",
    seeds: int = 1,
    sources: dict[str, str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Makes a table of a paper again: trains or loads its nets, measures them by the paper's protocol.

    Args:
        name: of the experiment, one of `ALL`.
        out: folder for nets, figures and pictures, which several experiments may share; what is finished
            there is not repeated, and a call that was killed goes on. Two calls at once that need the same
            net: the second is refused while the first trains it.
        budget: "smoke", "small" or "paper" (`BUDGETS`).
        seeds: nets that are trained for each row; entries of the zoo are of one seed.
        sources: name of a data set -> FILE.npz or folder, {"mnist": "mnist.npz"}; others are what
            `keras_adv.data.load` knows by that name.
        tell: called with a line of what begins.

    Returns:
        {"experiment", "budget", "images", "rows": [{"label", "net", "ours": {column: {"mean", "deviation",
        "error", "seeds"}}, "paper": {column: figure}}], "claims": [{"claim", "outcome", "why"}], "pictures":
        [{"title", "file"}]}, fit for JSON.

    Raises:
        InvalidInput: an unknown experiment, budget or source, a folder that cannot be written; before
            anything is trained.
    """
    validate.one_of("experiment", name, list(ALL))
    validate.one_of("budget", budget, list(BUDGETS))
    validate.number("seeds", seeds, low=1, whole=True)
    for source, place in (sources or {}).items():
        validate.one_of("sources", source, sorted(data_sets(ALL[name])))
        if not Path(place).exists():
            raise validate.unusable("sources", "files and folders that exist", f"{source}={place}")
    folder = validate.output_folder(out, "out") / budget
    folder.mkdir(exist_ok=True)
    setting = Setting(budget, seeds, tuple(sorted((sources or {}).items())))
    return Run(ALL[name], setting, folder, tell).finish()
