"""Runs an experiment: its nets, its cells, its page. What is finished is kept, and the same call goes on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keras_adv import data, registry, zoo
from keras_adv.evaluation import kept_epochs
from keras_adv.experiments import budgets, plots, verdicts
from keras_adv.experiments.base import STAGES, Column, Experiment, Net, Row
from keras_adv.experiments.budgets import Setting
from keras_adv.experiments.measures import Measured
from keras_adv.experiments.subjects import Subject
from keras_adv.files import write_text
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
        self.experiment, self.setting, self.out, self.tell = experiment, setting, out, tell
        self.n = budgets.images(experiment, setting.budget)
        self.file = out / f"{experiment.name}.json"
        self.subject = functools.cache(self._subject)

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
            "images": self.n,
            "rows": [self._row(row, cells) for row in rows],
            "claims": [verdicts.as_data(one) for one in judged],
            "pictures": [self._picture(k, one) for k, one in enumerate(self.experiment.plots, 1)],
        }
        self._keep({**self._kept(), "results": results})
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
        key = f"{self._named(row.net, seed)} {column.measure!r} {self.n} {self.experiment.sample}"
        kept = self._kept()
        if key not in kept["cells"]:
            self.tell(f"{row.label}{f', seed {seed}' if seed else ''}: {column.head}")
            kept["cells"][key] = column.measure(self.subject(row.label, seed))
            self._keep(kept)
        return Measured(*kept["cells"][key])

    def _kept(self) -> dict[str, Any]:
        if not self.file.is_file():
            return {"cells": {}, "pictures": {}}
        found: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return found

    def _keep(self, kept: dict[str, Any]) -> None:
        write_text(self.file, json.dumps(kept, indent=1))

    def _picture(self, number: int, plot: plots.Plot) -> dict[str, str]:
        path, rows = self.out / f"{self.experiment.name}-{number}.png", self.experiment.rows
        of = f"{plot!r} {[self._named(row.net, 0) for row in rows]} {self.n} {self.experiment.sample}"
        kept = self._kept()
        if kept["pictures"].get(path.name) != of or not path.is_file():
            self.tell(plot.title)
            plots.save(plot.draw({row.label: self.subject(row.label, 0) for row in rows}), path)
            kept["pictures"][path.name] = of
            self._keep(kept)
        return {"title": plot.title, "file": path.name}

    def _named(self, net: Net, seed: int) -> str:
        """What tells a net from all others: an entry of the zoo, or the recipe that trains it."""
        entry = budgets.entry(net, self.setting.budget)
        stage = "" if net.after is None else f" after {net.after:.0%} of the epochs"
        return entry or f"{registry.spec(self._recipe(net, seed))}{stage}"

    def _recipe(self, net: Net, seed: int) -> Recipe:
        recipe = budgets.recipe_of(net, self.setting.budget, dict(self.setting.sources))
        if net.start is not None:
            recipe = recipe.replace(start=self._place(net.start, seed))
        return recipe.replace(seed=seed)

    def _place(self, net: Net, seed: int) -> str:
        """Where a net is opened from once it is there: an entry of the zoo, or its folder."""
        return budgets.entry(net, self.setting.budget) or str(self._folder(net, seed))

    def _folder(self, net: Net, seed: int) -> Path:
        entry = budgets.entry(net, self.setting.budget)
        return self.out / "nets" / entry if entry else self._training_folder(self._recipe(net, seed))

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
            _loaded(self._data(net, recipe)),
            n=self.n,
            sample=self.experiment.sample,
            folder=self._folder(net, seed),
            adjust=functools.partial(budgets.adjusted, budget=self.setting.budget),
            other=lambda other: self.subject(other, seed),
            student=functools.partial(self._student, net, seed),
        )

    def _student(self, net: Net, seed: int, preset: str) -> keras.Model:
        """A net distilled from the answers of another on the training images of that."""
        teacher, name = self._place(net, seed), self._data(net, self._recipe(net, seed))
        given: Recipe = registry.parse("recipe", preset)
        paper = given.replace(defense=given.defense.replace(teacher=teacher), data=name)
        self.tell(f"distil {paper.model} from {teacher}")
        chosen = budgets.of_student(paper, self.setting.budget)
        return zoo.open(trained(chosen, self._training_folder(chosen)))

    def _training_folder(self, recipe: Recipe) -> Path:
        spec = registry.spec(recipe)
        return self.out / "nets" / f"{recipe.title}-{hashlib.sha256(spec.encode()).hexdigest()[:10]}"

    def _data(self, net: Net, recipe: Recipe) -> str:
        """The data set; for an entry of the zoo where this run finds it."""
        if (entry := budgets.entry(net, self.setting.budget)) is None:
            return recipe.data
        return budgets.placed(str(zoo.card(entry).data["name"]), dict(self.setting.sources))


_loaded = functools.lru_cache(maxsize=1)(functools.partial(data.load, validation=0))
