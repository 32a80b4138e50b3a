"""Pages of experiments: a table of a paper beside ours, its claims, its pictures; as HTML and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_adv._version import __version__
from keras_adv.experiments import BUDGETS, Experiment
from keras_adv.files import write_text
from keras_adv.pages import figures
from keras_adv.pages.reports import PAGES

LONG = 12
"""Columns from which a table is turned on its side, if it has more of them than rows."""


class Head(NamedTuple):
    """The title of a column; `own`: not in the paper."""

    text: str
    own: bool


class Cell(NamedTuple):
    """What stands in a cell, and the value by which it is sorted, "" for none."""

    text: str
    value: float | str


class Line(NamedTuple):
    """A row of a page's table."""

    label: str
    own: bool
    cells: list[Cell]


class Table(NamedTuple):
    """Titles, the first over the labels, and rows."""

    heads: list[Head]
    rows: list[Line]


def table(experiment: Experiment, results: Mapping[str, Any]) -> Table:
    """The table of an experiment, its columns as rows where there are many."""
    rows, columns = results["rows"], experiment.columns
    cells = [[_cell(row, column.head) for column in columns] for row in rows]
    heads, labels = (
        [Head(column.head, column.own) for column in columns],
        [Head(row["label"], False) for row in rows],
    )
    if len(columns) >= LONG and len(columns) > len(rows):
        heads, labels, cells = labels, heads, [list(line) for line in zip(*cells, strict=True)]
    lines = [Line(label.text, label.own, line) for label, line in zip(labels, cells, strict=True)]
    return Table([Head("", False), *heads], lines)


def _cell(row: Mapping[str, Any], head: str) -> Cell:
    found, paper = row["ours"][head], row["paper"].get(head)
    text = "-" if found["mean"] is None else f"{found['mean']:.4g}"
    if found["deviation"] is not None:
        text += f" ± {found['deviation']:.2g}"
    if paper is not None:
        text += f" ({paper:.4g})"
    return Cell(text, "" if found["mean"] is None else found["mean"])


def command(results: Mapping[str, Any]) -> str:
    """What makes the page again."""
    seeds, sources = results["seeds"], results["sources"]
    more = f" --seeds={seeds}" if seeds > 1 else ""
    more += f" --data={','.join(f'{name}=...' for name in sources)}" if sources else ""
    return f"keras-adv reproduce run {results['experiment']} --budget={results['budget']}{more}"


def write(experiment: Experiment, results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes NAME.html, which needs nothing beside itself, and NAME.md, with the pictures beside it."""
    html, text = (folder / f"{experiment.name}.{ending}" for ending in ("html", "md"))
    pictures = [
        {"title": one["title"], "image": figures.embedded("png", (folder / one["file"]).read_bytes())}
        for one in results["pictures"]
    ]
    page = PAGES.get_template("experiment.html").render(
        title=experiment.title,
        item=experiment.item,
        note=experiment.note,
        budget=BUDGETS[results["budget"]],
        results=results,
        table=table(experiment, results),
        pictures=pictures,
        command=command(results),
        version=__version__,
    )
    write_text(html, page)
    write_text(text, markdown(experiment, results))
    return [html, text]


def markdown(experiment: Experiment, results: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    made = table(experiment, results)
    heads = [_own(head.text, head.own) for head in made.heads]
    lines = [
        f"# {experiment.title}",
        "",
        f"{experiment.item}. Budget `{results['budget']}`, {results['images']} images. {experiment.note}",
        "Ours (the paper's figure); ± is the deviation over seeds; what is in italics is not in the paper.",
        "",
        _line(heads),
        _line(["---"] * len(heads)),
        *(_line([_own(row.label, row.own), *(cell.text for cell in row.cells)]) for row in made.rows),
        "",
        *(f"- {one['claim']}: **{one['outcome']}**. {one['why']}." for one in results["claims"]),
        *(f"\n![{one['title']}]({one['file']})" for one in results["pictures"]),
        "",
        "Nets: " + "; ".join(f"{row['label']}: `{row['net']}`" for row in results["rows"]) + ".",
        "",
        f"Made by `{command(results)}`.",
    ]
    return "\n".join(lines) + "\n"


def _own(text: str, own: bool) -> str:
    return f"*{text}*" if own else text


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
