"""Runs an experiment: its nets, its cells, its page. What is finished is kept, and the same call goes on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_adv import data, foreign, registry, zoo
from keras_adv.evaluation import kept_epochs
from keras_adv.experiments import budgets, plots, verdicts
from keras_adv.experiments.base import STAGES, Column, Experiment, Net, Row
from keras_adv.experiments.budgets import Setting
from keras_adv.experiments.measures import Measured
from keras_adv.experiments.subjects import Subject
from keras_adv.files import write_text
from keras_adv.fingerprint import sha256
from keras_adv.recipes import Recipe
from keras_adv.runs import trained

Tell = Callable[[str], None]
"""Called with a line of what begins or has ended."""


class Run:
    """One experiment in one setting, in a folder that several experiments share: they share its nets.

    Args:
        experiment: what is run.
        setting: how.
        out: the folder; nets go to nets/, figures to NAME.json, pictures to NAME-1.png and so on.
        tell: progress.
    """

    def __init__(self, experiment: Experiment, setting: Setting, out: Path, tell: Tell) -> None:
        self.experiment, self.setting, self.tell = experiment, setting, tell
        self.out = out.resolve()  # recipes hold the places of nets, and the same call may come from elsewhere
        self.n = budgets.images(experiment, setting.budget)
        self.file = self.out / f"{experiment.name}.json"
        self.subject = functools.cache(self._subject)
        self.digest = functools.cache(sha256)
        self.loaded = functools.lru_cache(maxsize=1)(functools.partial(data.load, validation=0))

    def finish(self) -> dict[str, Any]:
        """Measures the missing cells, judges the claims, draws the pictures; returns it, fit for JSON."""
        rows = self.experiment.rows
        cells = {
            (row.label, column.head): [self._cell(row, column, seed) for seed in self._seeds(row.net)]
            for row in rows
            for column in self.experiment.columns
        }
        judged = [verdicts.judge(one, cells, self.setting.budget) for one in self.experiment.claims]
        results = {
            "experiment": self.experiment.name,
            "budget": self.setting.budget,
            "seeds": self.setting.seeds,
            "sources": sorted(dict(self.setting.sources)),
            "images": self.n,
            "rows": [self._row(row, cells) for row in rows],
            "claims": [one._asdict() for one in judged],
            "pictures": [self._picture(k, one) for k, one in enumerate(self.experiment.plots, 1)],
        }
        self._keep("results", "last", results)
        return results

    def _row(self, row: Row, cells: verdicts.CELLS) -> dict[str, Any]:
        heads = [column.head for column in self.experiment.columns]
        found = {head: verdicts.over_seeds(cells[row.label, head])._asdict() for head in heads}
        return {
            "label": row.label,
            "ours": found,
            "paper": self.experiment.papers(row),
            "net": self._named(row.net, 0),
        }

    def _seeds(self, net: Net) -> range:
        """An entry of the zoo has one."""
        return range(1 if budgets.entry(net, self.setting.budget) else self.setting.seeds)

    def _cell(self, row: Row, column: Column, seed: int) -> Measured:
        key = f"{self._identity(row.net, seed)} {column.measure!r} {self.n} {self.experiment.sample}"
        cells = self._kept()["cells"]
        if key not in cells:
            self.tell(f"{row.label}{f', seed {seed}' if seed else ''}: {column.head}")
            found = column.measure(self.subject(row.label, seed))
            self._keep("cells", key, found)
            return found
        return Measured(*cells[key])

    def _kept(self) -> dict[str, dict[str, Any]]:
        """What is finished. Raises InvalidInput where the file is of something else."""
        empty: dict[str, dict[str, Any]] = {"cells": {}, "pictures": {}, "results": {}}
        if not self.file.is_file():
            return empty
        with foreign.reading("out", "a folder whose figures are a run's", self.file):
            found = json.loads(self.file.read_text(encoding="utf-8"))
            return {name: dict(found[name]) for name in empty}

    def _keep(self, part: str, key: str, value: Any) -> None:
        """Adds a figure to what the file holds now, which another process may have added to."""
        kept = self._kept()
        kept[part][key] = value
        write_text(self.file, json.dumps(kept, indent=1))

    def _picture(self, number: int, plot: plots.Plot) -> dict[str, str]:
        path, rows = self.out / f"{self.experiment.name}-{number}.png", self.experiment.rows
        of = f"{plot!r} {[self._identity(row.net, 0) for row in rows]} {self.n} {self.experiment.sample}"
        if self._kept()["pictures"].get(path.name) != of or not path.is_file():
            self.tell(plot.title)
            plots.save(plot.draw({row.label: self.subject(row.label, 0) for row in rows}), path)
            self._keep("pictures", path.name, of)
        return {"title": plot.title, "file": path.name}

    def _named(self, net: Net, seed: int) -> str:
        """A net as a page says it: an entry of the zoo, or its recipe and what it starts from."""
        entry = budgets.entry(net, self.setting.budget)
        stage = "" if net.after is None else f", after {net.after:.0%} of the epochs"
        start = "" if net.start is None else f", from {self._named(net.start, seed)}"
        return entry or f"{registry.spec(self._fresh(net, seed))}{stage}{start}"

    def _identity(self, net: Net, seed: int) -> str:
        """What tells a net and its images from all others, the content of files included."""
        entry, where = budgets.entry(net, self.setting.budget), self._data(net, self._fresh(net, seed))
        weights = f" {zoo.card(entry).sha256[:16]}" if entry else ""
        content = self.digest(Path(where))[:16] if Path(where).is_file() else ""
        return f"{self._named(net, seed)}{weights} on {where} {content}".rstrip()

    def _fresh(self, net: Net, seed: int) -> Recipe:
        """The recipe of a net, without the place of the one that it starts from."""
        return budgets.recipe_of(net, self.setting.budget, dict(self.setting.sources)).replace(seed=seed)

    def _recipe(self, net: Net, seed: int) -> Recipe:
        recipe = self._fresh(net, seed)
        return recipe if net.start is None else recipe.replace(start=self._place(net.start, seed))

    def _place(self, net: Net, seed: int) -> str:
        """Where a net is opened from once it is there: an entry of the zoo, or its folder."""
        return budgets.entry(net, self.setting.budget) or str(self._folder(net, seed))

    def _folder(self, net: Net, seed: int) -> Path:
        entry = budgets.entry(net, self.setting.budget)
        whole = dataclasses.replace(net, after=None)
        return self.out / "nets" / (entry or self._title(self._fresh(net, seed), self._named(whole, seed)))

    def _open(self, net: Net, seed: int) -> keras.Model:
        """The net, trained first if need be, and those before it that it starts from."""
        if (entry := budgets.entry(net, self.setting.budget)) is not None:
            return zoo.load(entry)
        if net.start is not None:
            self._open(net.start, seed)
        recipe, folder = self._recipe(net, seed), self._folder(net, seed)
        epochs = {stage: max(1, round(stage * recipe.epochs)) for stage in STAGES}
        file = trained(recipe, folder, keep=sorted({*epochs.values()}))  # another table may want them
        return zoo.open(file if net.after is None else kept_epochs(folder)[epochs[net.after]])

    def _subject(self, label: str, seed: int) -> Subject:
        net = next(row.net for row in self.experiment.rows if row.label == label)
        entry = budgets.entry(net, self.setting.budget)
        self.tell(f"{label}: {'load' if entry else 'train'} {entry or self._folder(net, seed).name}")
        recipe, model = self._recipe(net, seed), self._open(net, seed)
        return Subject(
            model,
            recipe,
            self.loaded(self._data(net, recipe)),
            n=self.n,
            sample=self.experiment.sample,
            folder=self._folder(net, seed),
            adjust=functools.partial(budgets.adjusted, budget=self.setting.budget),
            other=lambda other: self.subject(other, seed),
            student=functools.partial(self._student, net, seed),
        )

    def _student(self, net: Net, seed: int, preset: str) -> keras.Model:
        """A net distilled from the answers of another on the training images of that."""
        teacher, images = self._place(net, seed), self._data(net, self._fresh(net, seed))
        given: Recipe = registry.parse("recipe", preset)
        paper = given.replace(defense=given.defense.replace(teacher=teacher), data=images)
        self.tell(f"distil {paper.model} from {teacher}")
        chosen = budgets.of_student(paper, self.setting.budget)
        name = f"{preset} of {self._named(net, seed)}"
        return zoo.open(trained(chosen, self.out / "nets" / self._title(chosen, name)))

    def _title(self, recipe: Recipe, name: str) -> str:
        return f"{recipe.title}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"

    def _data(self, net: Net, recipe: Recipe) -> str:
        """The data set; for an entry of the zoo where this run finds it."""
        if (entry := budgets.entry(net, self.setting.budget)) is None:
            return recipe.data
        return budgets.placed(str(zoo.card(entry).data["name"]), dict(self.setting.sources))
