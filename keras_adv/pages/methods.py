"""Pages made from the registry: docs/attacks.md and docs/defenses.md."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_adv import registry, validate
from keras_adv.threats import L0, L1, L2, Linf

ATTACKS = """# Attacks

Made by `python scripts/docs.py` from the registry. eps is in units of [0, 1]. A bounded attack looks for a
mistake inside the ball of its threat, a minimal one for the nearest mistake. Knowledge is what it asks of the
model: gradients, scores (logits) or decisions. Cost is the most passes that one image takes; K is the number
of classes. An image that is fooled earlier costs only the passes up to there. "targets" marks attacks that
can also aim at a class: `attack(..., targets=...)`.

| name | what it does | norms | contract | knowledge | targets | cost | reference | example |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

OBJECTIVES = """
## Objectives

What an attack with the option `loss` ascends: `pgd(loss=dlr())`, or by the bare word, `pgd(loss='dlr')`.

| name | what is ascended | targets | example |
| --- | --- | --- | --- |
"""

DEFENSES = """# Defenses

Made by `python scripts/docs.py` from the registry. z are the logits, p their softmax, x' an adversarial
image. Cost is of one training step: K is the number of classes, a second-order pass is a training pass
through a gradient by the image.

| name | what is lowered | cost a step | reference |
| --- | --- | --- | --- |
"""

PRESETS = """
## The papers' own settings

Each name is a recipe, `python scripts/train.py --recipe=trades_cifar`, with network, data, epochs, batch size
and augmentation, and the defense in it is one too, `--defense=trades_cifar`. Flags change single fields;
offline, give `--data=FILE.npz`.

| name | recipe | where it is from |
| --- | --- | --- |
"""


def write(folder: str | Path) -> list[Path]:
    """Writes the two pages into `folder`, and returns them.

    Raises:
        InvalidInput: the folder cannot be written.
    """
    folder = validate.output_folder(folder)
    written = []
    for name, text in (("attacks.md", attacks()), ("defenses.md", defenses())):
        (folder / name).write_text(text)
        written.append(folder / name)
    return written


def attacks() -> str:
    """The page of all attacks and objectives."""
    return ATTACKS + _rows("attack", _attack) + OBJECTIVES + _rows("objective", _objective)


def defenses() -> str:
    """The page of all defenses and of their presets."""
    settings = "".join(
        _line(f"`{name}`", f"`{registry.spec(one.made)}`", one.note)
        for name, one in registry.presets("recipe").items()
    )
    return DEFENSES + _rows("defense", _defense) + PRESETS + settings


def _rows(kind: str, row: Callable[[str, Any], str]) -> str:
    return "".join(row(name, cls) for name, cls in registry.registered(kind).items())


def _attack(name: str, cls: Any) -> str:
    one, (what, cost) = cls(), _parts(cls)
    goals, example = "yes" if one.targetable else "", f"`{registry.spec(one)}`"
    return _line(
        f"`{name}`", what, _norms(cls), one.contract, one.knowledge, goals, cost, cls.reference, example
    )


def _objective(name: str, cls: Any) -> str:
    return _line(
        f"`{name}`", _parts(cls)[0], "yes" if cls.targetable else "", f"`{registry.spec(cls(), full=True)}`"
    )


def _defense(name: str, cls: Any) -> str:
    what, cost = _parts(cls)
    return _line(f"`{name}`", what, cost.removeprefix("a step").lstrip(", "), cls.reference)


def _norms(cls: Any) -> str:
    """The norms that an attack accepts."""
    known = []
    for threat in (Linf(eps=1.0), L2(eps=1.0), L1(eps=1.0), L0(eps=1.0)):
        try:
            cls(threat=threat)
        except validate.InvalidInput:
            continue
        known.append(threat.name)
    return ", ".join(known)


def _line(*cells: str) -> str:
    """One row of a table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"


def _parts(cls: Any) -> tuple[str, str]:
    """(the first paragraph, the cost) of a docstring."""
    text = inspect.getdoc(cls) or ""
    cost = text[text.index("Cost") :].split("\n\n")[0].split(":", 1) if "Cost" in text else ["", ""]
    return text.split("\n\n")[0], f"{cost[0][4:].strip(' ,')} {cost[1]}".strip()
