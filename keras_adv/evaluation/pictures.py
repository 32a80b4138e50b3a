"""Pictures of a run: learning curves, and clean / adversarial / difference images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_adv.evaluation.runner import Result


def curves(rows: list[dict[str, float]], path: Path) -> None:
    """Every logged term over epochs: the losses on the left (log scale), accuracies on the right."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in sorted({name for row in rows for name in row} - {"epoch", "seconds"}):
        accuracy = name.endswith("accuracy")
        points = [(r["epoch"] + 1, r[name]) for r in rows if name in r and (accuracy or r[name] > 0)]
        if points:
            (right if accuracy else left).plot(*zip(*points, strict=True), label=name, marker=".")
    left.set(xlabel="epoch", ylabel="loss and its terms", yscale="log")
    right.set(xlabel="epoch", ylabel="accuracy")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlim(0.5, max(row["epoch"] for row in rows) + 1.5)
        axes.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))  # covers no line
    figure.savefig(path, dpi=110)


def examples(x: np.ndarray, result: Result, labels: np.ndarray, title: str, path: Path, n: int = 8) -> None:
    """Clean images, what the attack made of them, and the difference, for the first `n` it fooled.

    `labels` (N,) are the model's decisions on the adversarial images. Images of other than three channels are
    shown as their mean.
    """
    chosen = np.flatnonzero(result.clean & result.success)[:n]
    figure = Figure(figsize=(1.2 * max(len(chosen), 3), 4.2), layout="constrained")
    axes = figure.subplots(3, max(len(chosen), 1), squeeze=False)
    for column, i in zip(axes.T, chosen, strict=False):
        change = result.images[i] - x[i]
        scale = max(float(np.abs(change).max()), 1e-6)
        for axis, image in zip(column, (x[i], result.images[i], 0.5 + change / (2 * scale)), strict=True):
            shown = image if image.shape[-1] == 3 else image.mean(-1)
            axis.imshow(shown, cmap="gray", vmin=0, vmax=1)
        column[1].set_title(f"-> {labels[i]}", fontsize=8)
        column[2].set_title(f"norm {result.distance[i]:.2f}", fontsize=8)
    for axis, name in zip(axes[:, 0], ("clean", "adversarial", "difference"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=110)
