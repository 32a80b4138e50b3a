"""Writes docs/attacks.md from the registry: python scripts/docs.py

One row for each registered attack; the tests see that the page is as the code is.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import inspect
from pathlib import Path
from typing import Any

from absl import flags

from keras_adv import cli, registry, validate
from keras_adv.threats import L0, L1, L2, Linf

OUT = flags.DEFINE_string("out", "docs/attacks.md", "the page to write")
HEAD = """# Attacks

Made by `python scripts/docs.py` from the registry. eps is in units of [0, 1]. A bounded attack looks for a mistake
inside the ball of its threat, a minimal one for the nearest mistake. Knowledge is what it asks of the model: gradients,
scores (logits) or decisions. Cost is of one image and one batch row, at most: K is the number of classes; a fooled image
costs what it took. "targets" marks attacks that can also aim at a class: `attack(..., targets=...)`.

| name | what it does | norms | contract | knowledge | targets | cost | reference | example |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
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


def row(name: str, cls: Any) -> str:
    """One line of the table."""
    text = inspect.getdoc(cls) or ""
    cost = text[text.index("Cost") :].split(":", 1) if "Cost" in text else ["", ""]
    one = cls()
    cells = [f"`{name}`", text.split("\n\n")[0], norms(cls), one.contract, one.knowledge]
    cells += ["yes" if one.targetable else "", f"{cost[0][4:].strip(' ,')} {cost[1]}".strip(), cls.reference]
    cells.append(f"`{registry.spec(one)}`")
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(row(name, cls) + "\n" for name, cls in registry.registered("attack").items())


def main() -> None:
    Path(OUT.value).parent.mkdir(parents=True, exist_ok=True)
    Path(OUT.value).write_text(page())
    print(OUT.value)


if __name__ == "__main__":
    cli.run(main)
