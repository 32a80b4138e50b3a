"""The page of a card: Markdown for people, with a head that Hugging Face reads."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from keras_adv.card_reported import beside

REPORTED = "Reported by the paper, of its own nets and protocol (not measured here)"
CLAIMED = "Claimed by the source (not measured here)"
COLUMNS = {
    "epoch": "epoch",
    "seconds": "seconds",
    "loss": "loss",
    "accuracy": "accuracy",
    "val_accuracy": "held out",
    "val_robust_accuracy": "held out, under attack",
}
BAR = "\\|"
"""A bar within a cell."""
NOTHING_FOUND = "No sign of masked gradients was found."


def markdown(card: Any) -> str:
    """The card for people."""
    lines = [*front_matter(card), f"# {card.name}", "", _made(card), ""]
    lines += _measured(card) if card.results else _unmeasured(card)
    if card.reported:
        lines += ["", f"## {REPORTED if card.origin is None else CLAIMED}", "", *_reported(card)]
    versions = ", ".join(f"{k} {v}" for k, v in card.versions.items())
    lines += ["", f"sha256 `{card.sha256}`; {versions}; licence {card.licence}.", ""]
    return "\n".join(lines)


def front_matter(card: Any) -> list[str]:
    """The lines that Hugging Face reads, YAML with values in JSON: licence, library, data set, tags, and
    as its results the clean accuracy and the robust one under each bounded attack."""
    clean = [("clean", card.results["clean_accuracy"])] if card.results else []
    attacks = card.results.get("attacks", [])
    rows = clean + [(r["spec"], r["robust_accuracy"]) for r in attacks if r["robust_accuracy"] is not None]
    data = re.sub(r"[^\w.-]", "_", Path(card.data["name"]).stem)  # a name; files are somebody's own
    measured = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": data, "split": card.data["split"]},
        "metrics": [
            {"type": "accuracy", "name": f"accuracy, {what}", "value": round(value, 4)}
            for what, value in rows
        ],
    }
    defense = re.findall(r"defense=(\w+)", card.recipe)
    values: dict[str, Any] = {
        "license": "unknown" if card.licence == "not stated" else card.licence.lower(),
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["keras", "keras_adv", "adversarial-robustness", *defense],
        "datasets": [data],
    }
    if rows:
        values["model-index"] = [{"name": card.name, "results": [measured]}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return ["---", *lines, "---", ""]


def _made(card: Any) -> str:
    """Where the weights are from."""
    if card.origin is None:
        return f"Trained by `python scripts/train.py --recipe={_shell(card.recipe)}`."
    part = f", part `{card.origin['part']}`" if card.origin["part"] else ""
    file = f"`{card.origin['file']}`{part} (sha256 `{card.origin['sha256']}`)"
    source = card.origin["source"] or "source not stated"
    return f"Not trained here: the weights of {file}, {source}, in `{card.origin['architecture']}`."


def _size(card: Any) -> str:
    trained = f"; trained in {card.seconds:.0f} s" if card.origin is None else ""
    took = f", {card.training['flop']:.2e} FLOP" if card.training else ""
    return f"- parameters: {card.parameters:,}; artifact {card.bytes / 2**20:.2f} MiB{trained}{took}"


def _reported(card: Any) -> list[str]:
    """What others report, and beside it, where something of the kind was measured, what was."""
    shown = [f"{name}: {text}" for name, text in card.reported.items()]
    here = [beside(card, *one) if card.results else "-" for one in card.reported.items()]
    if {*here} == {"-"}:
        return [f"- {text}" for text in shown]
    rows = [
        f"| {' '.join(there.replace('|', BAR).split())} | {ours} |"
        for there, ours in zip(shown, here, strict=True)
    ]
    return ["| reported | here, the same data and kind of attack |", "| --- | --- |", *rows]


def _curve(training: dict[str, Any]) -> list[str]:
    """What the training took, and how it went: a row for some of its epochs."""
    counted = (
        f"{training['flop']:.3e} FLOP in {training['epochs']} epochs, {training['forward_flop']:.3e} in a "
        "forward pass of one image: twice the multiply-adds of dense layers and convolutions, in all passes "
        "of all steps. Accuracy is of the images that a step learns from, held out of validation images"
    )
    rows = training["curve"]
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    counted += ", attacked as the best epoch was chosen by." if "val_robust_accuracy" in names else "."
    lines = ["", "## Training", "", counted]
    if not rows:
        return lines
    lines.append("")
    lines.append(f"| {' | '.join(COLUMNS[name] for name in names)} |")
    lines.append(f"| {' | '.join('---' for _ in names)} |")
    for row in rows:
        cells = [_figure(name, row[name]) if name in row else "-" for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _figure(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return f"{value:.1%}"
    return f"{value:.4g}" if name == "loss" else f"{value:.0f}"


def _unmeasured(card: Any) -> list[str]:
    return [
        f"- data: {card.data['name']}",
        _size(card),
        "",
        "Not measured. `python scripts/evaluate.py --model=FOLDER --card`, with the folder of this file, "
        "measures it and adds the results.",
    ]


def _measured(card: Any) -> list[str]:
    clean = card.results
    lines = [
        f"- data: {card.data['name']}, {card.data['split']} split, n = {clean['n']}",
        f"- clean accuracy: {clean['clean_accuracy']:.2%} (95% interval {_span(clean['clean_interval'])})",
        *([f"- {_proved(clean['certified'])}"] if "certified" in clean else []),
        _size(card),
        *([] if card.origin else [f"- reference: {card.reference or 'none'}"]),
        "",
        "| attack | robust accuracy (95%) | success | mean norm | rho | passes an image |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in clean["attacks"]:
        robust = row["robust_accuracy"]
        held = "-" if robust is None else f"{robust:.2%} ({_span(row['interval'])})"
        norm = "-" if row["mean_norm"] is None else f"{row['mean_norm']:.4f}"
        rho = "-" if row.get("mean_ratio") is None else f"{row['mean_ratio']:.4f}"
        shown = f"| `{row['spec']}` | {held} | {row['success_rate']:.2%} | {norm} | {rho} "
        lines.append(f"{shown}| {row['gradients_per_image']:.0f} |")
    lines += [
        "",
        "Success, norm and rho, the mean of norm / norm of the image, are over images classified correctly.",
    ]
    warned = [flag for part in (clean, *clean["attacks"]) for flag in part.get("flags", [])]
    if warned:
        lines += ["", *(f"- warning: {flag}" for flag in dict.fromkeys(warned))]
    lines += ["", "## Audit", ""]
    if card.audited:
        lines += [f"At `{card.audited['threat']}`, on {card.audited['n']} images.", ""]
    lines += [f"- {finding}" for finding in card.audit] or [NOTHING_FOUND]
    return lines + (_curve(card.training) if card.training else [])


def _proved(row: dict[str, Any]) -> str:
    held = f"{row['accuracy']:.2%} (95% interval {_span(row['interval'])})"
    return f"certified accuracy under `{row['threat']}`, by interval bounds: {held}"


def _shell(text: str) -> str:
    """One word for the shell; specs have single quotes, which double ones keep readable."""
    return shlex.quote(text) if set('"$`\\!') & set(text) else f'"{text}"'


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"
