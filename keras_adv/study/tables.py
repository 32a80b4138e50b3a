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
        "images, not over people. agreement: equal pairs of answers to an image; kappa: Fleiss'",
    )
    heads = ("flipped", "kept", "other", "unsure", "sure, 1-5", "agreement", "kappa", "images", "answers")
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
            _text(row["confidence"], "{:.2f}"),
            _text(row["agreement"], "{:.1%}"),
            _text(row["kappa"], "{:.3f}"),
            str(row["images"]),
            str(row["answers"]),
        )
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
