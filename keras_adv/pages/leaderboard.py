"""The leaderboard: for each data set its nets by what no attack took from them, beside published ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_adv import registry
from keras_adv.attacks import Attack
from keras_adv.card import ModelCard

HEADS = ("", "net", "clean", "PGD", "lowest (95%)", "by", "images", "mean l2 norm", "audit")


class Published(NamedTuple):
    """A net of others: what it is, its clean accuracy, and its accuracy under the best attack known to
    RobustBench (snapshot of 2025-03-31)."""

    title: str
    clean: float
    robust: float


PUBLISHED = {
    ("cifar10", "linf(eps=8/255)"): (
        Published("best: WRN-94-16, 300 million made images (Bartoldson 2024)", 0.9368, 0.7371),
        Published("best without more images: WRN-34-20 (Chen 2024)", 0.8610, 0.5809),
        Published("best ResNet-18 without more images (Addepalli 2022)", 0.8571, 0.5248),
    ),
}
"""By data set and threat. Of MNIST and digits at the eps below nothing was published that we know of: MNIST's
usual eps is 0.3."""


class Standing(NamedTuple):
    """A net under one threat: its row under PGD and the row that leaves least standing, of its card's
    results; None where it has none."""

    card: ModelCard
    pgd: dict[str, Any] | None
    lowest: dict[str, Any] | None

    @property
    def held(self) -> float:
        """The robust accuracy of the second; -1 without one."""
        return -1.0 if self.lowest is None else float(self.lowest["robust_accuracy"])


def bounded(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of attacks bounded in linf and by the box, by the spec of their threat."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        threat = _attack(row).threat
        if row["robust_accuracy"] is not None and threat.norm_name == "linf" and threat.box:
            found.setdefault(registry.spec(threat), []).append(row)
    return found


def threat_of(cards: Sequence[ModelCard]) -> str | None:
    """The linf threat under which most of these nets were attacked, and of two alike the one of most
    attacks."""
    nets, attacks = Counter[str](), Counter[str]()
    for card in cards:
        for threat, rows in bounded(card.results["attacks"]).items():
            nets[threat] += 1
            attacks[threat] += len(rows)
    return max(nets, key=lambda threat: (nets[threat], attacks[threat]), default=None)


def ranked(cards: Sequence[ModelCard], threat: str) -> list[Standing]:
    """The nets, the one of which most is left standing first; those not measured last."""
    made = []
    for card in cards:
        rows = bounded(card.results["attacks"]).get(threat, [])
        pgd = next((row for row in rows if row["spec"].startswith("pgd(")), None)
        made.append(Standing(card, pgd, min(rows, key=lambda row: row["robust_accuracy"], default=None)))
    return sorted(made, key=lambda one: (-one.held, -one.card.results["clean_accuracy"]))


def board(data: str, cards: Sequence[ModelCard]) -> Iterator[str]:
    """The lines of the table of one data set, in Markdown."""
    threat = threat_of(cards)
    yield f"### {data}" + (f", `{threat}`" if threat else "")
    yield ""
    yield f"| {' | '.join(HEADS)} |"
    yield f"| {' | '.join('---' for _ in HEADS)} |"
    rows = [(one.held, _line(number, one)) for number, one in enumerate(ranked(cards, threat or ""), 1)]
    for other in PUBLISHED.get((data, threat or ""), ()):
        shown = f"*{other.title}*", f"{other.clean:.1%}", "", f"{other.robust:.1%}", "*RobustBench*"
        rows.append((other.robust, f"| | {' | '.join(shown)} | 10,000 | | |"))
    yield from (line for _, line in sorted(rows, key=lambda row: -row[0]))
    yield ""


def _line(number: int, one: Standing) -> str:
    card, results = one.card, one.card.results
    lowest = "-", "-"
    if one.lowest is not None:
        low, high = one.lowest["interval"]
        held = f"**{one.lowest['robust_accuracy']:.1%}** ({low:.1%} to {high:.1%})"
        lowest = held, _attack(one.lowest).name
    link = f"zoo/{card.name}/README.md"
    audit = "nothing found" if not card.audit else f"[{len(card.audit)} found]({link}#audit)"
    cells = [str(number), f"[{card.name}]({link})", f"{results['clean_accuracy']:.1%}"]
    cells += [f"{one.pgd['robust_accuracy']:.1%}" if one.pgd else "-", *lowest, f"{results['n']:,}"]
    return f"| {' | '.join([*cells, needed(results['attacks']), audit])} |"


def needed(rows: Sequence[dict[str, Any]]) -> str:
    """The lowest of the mean l2 norms of the smallest perturbations, and whose it is."""
    found: dict[str, float] = {}
    for row in rows:
        attack = _attack(row)
        if attack.contract == "minimal" and attack.threat.norm_name == "l2" and row["mean_norm"] is not None:
            found.setdefault(attack.name, row["mean_norm"])
    name = min(found, key=lambda n: found[n], default=None)
    return "-" if name is None else f"{found[name]:.3f} ({name})"


def _attack(row: dict[str, Any]) -> Attack:
    made: Attack = registry.parse("attack", row["spec"])
    return made
