"""Writes docs/attacks.md and docs/defenses.md from the registry: python scripts/docs.py

One row for each registered attack and defense; the tests see that the pages are as the code is.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import inspect
from pathlib import Path
from typing import Any

from absl import flags

from keras_adv import cli, registry, validate
from keras_adv.defenses import PRESETS
from keras_adv.threats import L0, L1, L2, Linf

OUT = flags.DEFINE_string("out", "docs", "folder of the pages")
ATTACKS = """# Attacks

Made by `python scripts/docs.py` from the registry. eps is in units of [0, 1]. A bounded attack looks for a mistake
inside the ball of its threat, a minimal one for the nearest mistake. Knowledge is what it asks of the model: gradients,
scores (logits) or decisions. Cost is of one image and one batch row, at most: K is the number of classes; a fooled image
costs what it took. "targets" marks attacks that can also aim at a class: `attack(..., targets=...)`.

| name | what it does | norms | contract | knowledge | targets | cost | reference | example |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

DEFENSES = """# Defenses

Made by `python scripts/docs.py` from the registry. z are the logits, p their softmax, x' an adversarial image. Cost is of one
training step: K is the number of classes, a second-order pass is a training pass through a gradient by the image. Settings
are names of specs with the papers' own options: `--defense=trades_mnist`.

| name | what is lowered | cost a step | reference | the papers' settings |
| --- | --- | --- | --- | --- |
"""


def norms(cls: Any) -> str:
    """The norms that the attack accepts."""
    known = []
    for threat in (Linf(eps=1.0), L2(eps=1.0), L1(eps=1.0), L0(eps=1.0)):
        try:
            cls(threat=threat)
        except validate.InvalidInput:
            continue
        known.append(threat.name)
    return ", ".join(known)


def line(*cells: str) -> str:
    """One row of a table."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |\n"


def parts(cls: Any) -> tuple[str, str]:
    """(the first paragraph, the cost) of a docstring."""
    text = inspect.getdoc(cls) or ""
    cost = text[text.index("Cost") :].split("\n\n")[0].split(":", 1) if "Cost" in text else ["", ""]
    return text.split("\n\n")[0], f"{cost[0][4:].strip(' ,')} {cost[1]}".strip()


def attack(name: str, cls: Any) -> str:
    """The row of an attack."""
    one, (what, cost) = cls(), parts(cls)
    goals = "yes" if one.targetable else ""
    example = f"`{registry.spec(one)}`"
    return line(
        f"`{name}`", what, norms(cls), one.contract, one.knowledge, goals, cost, cls.reference, example
    )


def defense(name: str, cls: Any) -> str:
    """The row of a defense."""
    what, cost = parts(cls)
    settings = ", ".join(f"`{n}`" for n, made in PRESETS.items() if type(made) is cls)
    return line(f"`{name}`", what, cost.removeprefix("a step").lstrip(", "), cls.reference, settings)


def main() -> None:
    folder = Path(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, head, row in (("attack", ATTACKS, attack), ("defense", DEFENSES, defense)):
        rows = (row(name, cls) for name, cls in registry.registered(kind).items())
        (folder / f"{kind}s.md").write_text(head + "".join(rows))
        print(folder / f"{kind}s.md")


if __name__ == "__main__":
    cli.run(main)
