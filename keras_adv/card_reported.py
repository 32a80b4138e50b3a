"""What a paper reports, and beside it what was measured here of the same kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from keras_adv import registry

SETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
"""What papers call the data sets."""
ATTACKS = {
    "fgsm": r"FGSM",
    "pgd": r"(?<!adaptive )PGD",
    "autoattack": r"AutoAttack",
    "worst": r"adaptive PGD",
    "deepfool": r"DeepFool",
    "carlini_wagner": r"C&W",
    "ddn": r"DDN",
    "high_confidence": r"own attack|high confidence",
}
"""What they call the attacks."""


def beside(card: Any, name: str, text: str) -> str:
    """What the card has of the kinds of figures that a reported line gives, on the same data; "-" where it
    has none.

    The clean accuracy, robust accuracies under attacks of the name and the linf eps (to 5%) that the line
    says, and mean norms or rho in l2 where it speaks of them.

    Args:
        card: of a measured net.
        name: of the line.
        text: of the line, with the figures.
    """
    line = f"{name}: {text}"
    if card.origin is None and not _mentions(SETS.get(card.data["name"], card.data["name"]), line):
        return "-"
    return "; ".join([*_clean(card, line), *_under_attack(card, line)]) or "-"


def _mentions(word: str, line: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line) is not None


def _clean(card: Any, line: str) -> Iterator[str]:
    accuracy = card.results["clean_accuracy"]
    if re.search(r"\berror\b", line):
        yield f"error {1 - accuracy:.2%}"
    elif re.search(r"\bclean\b|^Accuracy:", line):
        yield f"clean {accuracy:.2%}"


def _under_attack(card: Any, line: str) -> Iterator[str]:
    stated = re.findall(r"linf (\d+(?:\.\d+)?)(?:/([1-9]\d*))?", line)
    radii = [float(over) / float(under or 1) for over, under in stated]
    for row in card.results["attacks"]:
        attack: Any = registry.parse("attack", row["spec"])
        if not re.search(ATTACKS.get(attack.name, r"(?!)"), line) or not attack.threat.box:
            continue
        norm, eps = attack.threat.norm_name, attack.threat.eps
        minimal = attack.contract == "minimal"
        if not minimal and norm == "linf" and any(abs(eps - radius) < 0.05 * radius for radius in radii):
            yield f"{_short(row['spec'])} {row['robust_accuracy']:.2%}"
        elif minimal and norm == "l2" and "rho" in line and row.get("mean_ratio") is not None:
            yield f"{_short(row['spec'])} rho {row['mean_ratio']:.3f}"
        elif minimal and norm == "l2" and "mean l2" in line and row["mean_norm"] is not None:
            yield f"{_short(row['spec'])} mean l2 {row['mean_norm']:.3f}"


def _short(spec: str) -> str:
    """A spec for a cell: of a long one the name and the threat."""
    found = re.match(r"(\w+\(threat=\w+\([^()]*\)), .*\)$", spec) if len(spec) > 60 else None
    return f"`{found[1]}, ...)`" if found else f"`{spec}`"
