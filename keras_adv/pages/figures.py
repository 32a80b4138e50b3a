"""The figures and pictures of a report, as data that a page holds within itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import image
from matplotlib.figure import Figure

WORDS = {"linf": "l-infinity", "l0": "l0 (pixels)", "l0 of values": "l0 (values)"}

ACCURACIES = {
    "accuracy": "images of the training",
    "val_accuracy": "held out",
    "val_robust_accuracy": "held out, under attack",
}


def words(norm: str) -> str:
    """A norm in words, by the `norm_name` of its threat."""
    return WORDS.get(norm, norm)


def over_eps(lines: Sequence[dict[str, Any]], norm: str) -> str:
    """Robust accuracy over eps, for one norm.

    Args:
        lines: {"name", "eps", "robust_accuracy", "steps"}: points to join, or steps of a distribution.
        norm: `norm_name` of the threat.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        if line["steps"]:
            axes.step(line["eps"], line["robust_accuracy"], where="post", label=line["name"])
        else:
            axes.plot(line["eps"], line["robust_accuracy"], marker="o", label=line["name"])
    axes.set(xlabel=f"eps, {words(norm)}", ylabel="robust accuracy", ylim=(-0.02, 1.02))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return _svg(figure)


def training(curve: Sequence[dict[str, Any]]) -> str:
    """Accuracies over the epochs of a training, of the rows that a card keeps."""
    figure = Figure(figsize=(6, 2.8), layout="constrained")
    axes = figure.subplots()
    for name, title in ACCURACIES.items():
        points = [(row["epoch"], row[name]) for row in curve if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=title)
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return _svg(figure)


def norms(found: Sequence[tuple[str, np.ndarray]], norm: str) -> str:
    """Histograms of the norms of the smallest perturbations, (name, norms) of each attack, for one norm."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate([values for _, values in found]), bins=30).tolist()
    for name, values in found:
        label = f"{name}: median {np.median(values):.3g}"
        axes.hist(values, bins=edges, histtype="stepfilled", alpha=0.45, label=label)
    axes.set(xlabel=f"norm of the change, {words(norm)}", ylabel="images")
    axes.legend(fontsize=7)
    return _svg(figure)


def surface(margins: np.ndarray, steps: np.ndarray) -> str:
    """Margins (M, P, P) over planes through M images: up along the gradient, to the right along a random way,
    in units of eps; the line is the boundary, the dot the image."""
    figure = Figure(figsize=(6, 2.4), layout="constrained")
    shown = np.clip(np.nan_to_num(margins), -1e6, 1e6)
    most = float(np.abs(shown).max()) or 1.0
    for k, margin in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), k + 1)
        levels = np.linspace(-most, most, 25)
        drawn = axes.contourf(steps, steps, margin, levels=levels.tolist(), cmap="RdBu_r")
        if margin.min() < 0 < margin.max():
            axes.contour(steps, steps, margin, levels=[0.0], colors="black", linewidths=1)
        axes.plot(0, 0, "o", color="black", markersize=3)
        axes.set_aspect("equal")
        axes.set_xlabel("random, eps", fontsize=7)
        axes.tick_params(labelsize=6)
        if not k:
            axes.set_ylabel("along the gradient, eps", fontsize=7)
    bar = figure.colorbar(drawn, ax=figure.axes, shrink=0.8)
    bar.ax.tick_params(labelsize=6)
    bar.set_label("margin, above 0 a mistake", fontsize=7)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "keras_adv"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return embedded("svg+xml", buffer.getvalue())


def picture(pixels: np.ndarray) -> str:
    """An image (H, W, C) in 256 levels; of other than three channels their mean."""
    shown = pixels if pixels.shape[-1] == 3 else pixels.mean(-1)
    buffer = io.BytesIO()
    image.imsave(buffer, shown, cmap="gray", vmin=0, vmax=255, format="png")
    return embedded("png", buffer.getvalue())


def embedded(kind: str, content: bytes) -> str:
    """The content of an image of this kind, "png" say, as an address."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
