"""Tables and figures of the papers: python scripts/reproduce.py list|run

list names all of them, with what each costs. run deep_defense.table1_lenet --budget=small --out=DIR trains or
loads its nets, measures them by the paper's protocol and writes a page, as HTML and Markdown; "run mat.*"
runs all of a document. What is finished is kept in --out, which runs may share; a killed run goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from absl import flags
from rich.table import Table

from keras_adv import cli, experiments
from keras_adv.pages import experiments as pages
from keras_adv.validate import invalid, one_of

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command; of the words before them the first is --what, the others are
    --experiment."""
    words = cli.leading_words()
    flags.DEFINE_string("what", words[0] if words else None, "the first word: list or run")
    flags.DEFINE_multi_string(
        "experiment", words[1:], "for run: names, or patterns as mat.*; or the words after the first"
    )
    flags.DEFINE_enum(
        "budget",
        "smoke",
        list(experiments.BUDGETS),
        "; ".join(f"{k}: {v}" for k, v in experiments.BUDGETS.items()),
    )
    flags.DEFINE_integer(
        "seeds", 1, "nets that are trained for each row; those of the zoo are of one", lower_bound=1
    )
    flags.DEFINE_list(
        "data", [], "where data sets are: mnist=FILE.npz,imagenet=FOLDER; others are loaded by name"
    )
    flags.DEFINE_string("out", "runs/reproduced", "folder for nets, figures and pages")


def main() -> None:
    """Runs it, with the flags as they are given."""
    one_of("what", FLAGS.what, ("list", "run"))
    cli.check_given_once("experiment", "run")
    found = {one.name: one for pattern in FLAGS.experiment for one in experiments.find(pattern)}
    chosen = list(found.values())
    if FLAGS.what == "list":
        cli.show(_listed(chosen or list(experiments.ALL.values())))
        return
    if not chosen:
        raise invalid("experiment", "a name of `reproduce list` at least", FLAGS.experiment)
    sources = dict(pairs := [_source(text) for text in FLAGS.data])
    if len(sources) < len(pairs):
        raise invalid("data", "one place for each data set", FLAGS.data)
    known = {name for one in chosen for name in experiments.data_sets(one)}
    for name in sources:
        one_of("data", name, sorted(known))
    for one in chosen:
        own = {name: sources[name] for name in experiments.data_sets(one) & set(sources)}
        results = experiments.run(
            one.name, FLAGS.out, budget=FLAGS.budget, seeds=FLAGS.seeds, sources=own, tell=_tell
        )
        cli.show(_table(one, results))
        for claim in results["claims"]:
            print(f"{claim['claim']}: {claim['outcome']}. {claim['why']}")
        for path in pages.write(one, results, Path(FLAGS.out) / FLAGS.budget):
            print(path)


def _source(text: str) -> tuple[str, str]:
    name, given, place = text.partition("=")
    if not (name and given and place):
        raise invalid("data", "of the form mnist=FILE.npz", text)
    return name, place


def _listed(chosen: list[experiments.Experiment]) -> Table:
    table = Table(title=f"{len(chosen)} tables and figures of five documents")
    table.add_column("name", no_wrap=True)
    for head in ("shows", "small", "paper"):
        table.add_column(head, overflow="fold")
    for one in chosen:
        costs = (experiments.cost(one, budget) for budget in ("small", "paper"))
        table.add_row(one.name, f"{one.title} ({one.item})", *costs)
    return table


def _table(one: experiments.Experiment, results: dict[str, Any]) -> Table:
    made = pages.table(one, results)
    table = Table(title=one.title, caption="ours (the paper's)")
    for head in made.heads:
        table.add_column(head.text, overflow="fold")
    for row in made.rows:
        table.add_row(row.label, *(cell.text for cell in row.cells))
    return table


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
