"""A study's results as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table


def score_table(results: dict[str, Any]) -> Table:
    """A row for each model and one for the clean images, of what `score` returned."""
    made = Table(
        title=f"study {results['study']}: what {len(results['people'])} people saw",
        caption="flipped: the class that the model sees; kept: the true class. Intervals: 95%, Wilson, over "
        "images, not over people",
    )
    heads = ("flipped", "kept", "other", "unsure", "images", "answers")
    made.add_column("images of", overflow="fold")
    for head in heads:
        made.add_column(head, justify="right", overflow="fold")
    for row in results["rows"]:
        clean = row["model"] is None
        made.add_row(
            "clean" if clean else escape(row["model"]),
            "-" if clean else _share(row["flipped"], row["flipped_interval"]),
            _share(row["kept"], row["kept_interval"]),
            _share(row["other"]),
            _share(row["unsure"]),
            str(row["images"]),
            str(row["answers"]),
        )
    return made


def agreement_table(results: dict[str, Any]) -> Table:
    """How sure people were and how far they agreed, rows as in `score_table`."""
    made = Table(title="how sure, 1 to 5; equal pairs of answers to an image; Fleiss' kappa")
    for head in ("images of", "confidence", "agreement", "kappa"):
        made.add_column(head, justify="left" if head == "images of" else "right", overflow="fold")
    for row in results["rows"]:
        shown = (("confidence", "{:.2f}"), ("agreement", "{:.1%}"), ("kappa", "{:.3f}"))
        name = "clean" if row["model"] is None else escape(row["model"])
        made.add_row(name, *(_text(row[what], form) for what, form in shown))
    return made


def people_table(results: dict[str, Any]) -> Table:
    """A row for each person: who fails on clean images may not have tried."""
    made = Table(title="people")
    for head in ("participant", "answers", "unsure", "right on clean", "median seconds"):
        made.add_column(head, justify="left" if head == "participant" else "right")
    for one in results["people"]:
        made.add_row(
            one["participant"],
            str(one["answers"]),
            str(one["unsure"]),
            _text(one["clean"], "{:.1%}"),
            _text(one["seconds"], "{:.1f}"),
        )
    return made


def _share(value: float | None, interval: list[float] | None = None) -> str:
    between = "" if interval is None else f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
    return _text(value, "{:.1%}") + between


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
