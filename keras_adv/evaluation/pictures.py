"""Pictures of a run: learning curves, and clean / adversarial / difference images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_adv.evaluation.black_box import TransferMatrix


def curves(rows: list[dict[str, float]], path: Path) -> None:
    """Every logged term over epochs: the losses on the left (log scale), accuracies on the right."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in sorted({name for row in rows for name in row} - {"epoch", "seconds"}):
        accuracy = name.endswith("accuracy")
        points = [(r["epoch"] + 1, r[name]) for r in rows if name in r and (accuracy or r[name] > 0)]
        if points:
            marker = "o" if len(points) == 1 else "."  # of one epoch there is no line
            (right if accuracy else left).plot(*zip(*points, strict=True), label=name, marker=marker)
    left.set(xlabel="epoch", ylabel="loss and its terms", yscale="log")
    right.set(xlabel="epoch", ylabel="accuracy")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(0.5, max(row["epoch"] for row in rows) + 1.5)
        axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))  # covers no line
    figure.savefig(path, dpi=110)


def transfers(found: TransferMatrix, path: Path) -> None:
    """The robust accuracies of a transfer matrix in colours, with their percentages."""
    count = len(found.names)
    figure = Figure(figsize=(2.5 + 0.5 * count, 1.8 + 0.45 * count), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(found.robust_accuracy, cmap="viridis", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(found.robust_accuracy):
        colour = "black" if share > 0.6 else "white"
        axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(count), found.names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(count), found.names, fontsize=8)
    axes.set(xlabel="judged", ylabel="made on")
    axes.set_title(f"{found.attack}, n = {found.n}", fontsize=9)
    figure.colorbar(drawn, label="robust accuracy")
    figure.savefig(path, dpi=110)


def examples(kept: Mapping[str, np.ndarray], path: Path, n: int = 8) -> None:
    """Images that the first attack of an evaluation fooled, of as many classes as may be: clean, what it made
    of them, and the difference; true and predicted class with confidence.

    Args:
        kept: the evaluation's records (`records.load`).
        path: of the picture. Images of other than three channels are shown as their mean.
        n: images, at most.
    """
    rows = kept["0_shown"] if len(kept["spec"]) else np.zeros(0, int)
    # by true class, as they are kept: evenly spread they are of most classes
    chosen = np.unique(np.linspace(0, len(rows) - 1, n).round().astype(int)) if len(rows) else rows
    figure = Figure(figsize=(1.3 * max(len(chosen), 3), 4.4), layout="constrained")
    axes = figure.subplots(3, max(len(chosen), 1), squeeze=False)
    for column, i in zip(axes.T, chosen, strict=False):
        row, (before, after) = rows[i], (kept[f"0_{name}"][i] / 255.0 for name in ("before", "after"))
        scale = max(float(np.abs(after - before).max()), 1e-6)
        for axis, image in zip(column, (before, after, 0.5 + (after - before) / (2 * scale)), strict=True):
            shown = image if image.shape[-1] == 3 else image.mean(-1)
            axis.imshow(shown, cmap="gray", vmin=0, vmax=1)
        column[0].set_title(f"{kept['label'][row]} ({kept['confidence'][row]:.0%})", fontsize=8)
        fooled = f"-> {kept['0_prediction'][row]} ({kept['0_confidence'][row]:.0%})"
        column[1].set_title(fooled, fontsize=8)
        column[2].set_title(f"norm {kept['0_norm'][row]:.2f}", fontsize=8)
    for axis, name in zip(axes[:, 0], ("clean", "adversarial", "difference"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle(kept["spec"][0] if len(kept["spec"]) else "no attack", fontsize=9)
    figure.savefig(path, dpi=110)
