"""The papers' pictures of features: maps of them, classes, and how stable they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from keras_adv.evaluation.embedding import clusters, vectors
from keras_adv.evaluation.embedding.points import AllPoints, Points

PERPLEXITY = 30.0
"""Of t-SNE, scikit-learn's default; less for few images."""
NAMED = 20
"""More classes than these get no legend, and no numbers in matrices."""


def tsne(features: np.ndarray) -> np.ndarray:
    """(N, 2) t-SNE of features (N, F), N at least 2; the same in each call (random_state 0, started at the
    principal components). Distances between far points, and sizes of groups, mean nothing in it."""
    from sklearn.manifold import TSNE

    rows = _wide(vectors.checked(features))
    if not np.ptp(rows, axis=0).any():
        return np.zeros((len(rows), 2))
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    with vectors.one_thread():
        return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(rows))


def pca(features: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N + M, 2) both in the first two principal components of `features` (N, F), N at least 2."""
    from sklearn.decomposition import PCA

    rows, more = (_wide(vectors.checked(part)) for part in (features, others))
    fitted = PCA(n_components=2, svd_solver="full").fit(rows)
    return np.concatenate([fitted.transform(rows), fitted.transform(more)])


def draw(found: AllPoints, folder: Path) -> list[Path]:
    """Draws all pictures into a folder.

    tsne.png and pca.png: a row for each attack; clean images by true class (MadNet, fig. 2; AFD, A8-A10),
    with attacked ones by true, and by predicted class (MAT, fig. 1). classes.png: distances of class means
    beside what attacked images are taken for (MadNet, fig. 1). stability.png: sensitivities, and the
    logarithm of the gradient landscape (AFD, fig. 4).
    """
    makers = {"tsne": tsne_map, "pca": _pca, "classes": class_map, "stability": stability}
    paths = [folder / f"{name}.png" for name in makers]
    for path, make in zip(paths, makers.values(), strict=True):
        make(found).savefig(path, dpi=110)
    return paths


def _wide(rows: np.ndarray) -> np.ndarray:
    """With two columns at least."""
    return np.pad(rows, ((0, 0), (0, max(0, 2 - rows.shape[1]))))


def tsne_map(found: AllPoints) -> Figure:
    """t-SNE of the features: a row of three maps for each attack."""
    maps = [tsne(np.concatenate([found.clean.features, one.features])) for one in found.attacks]
    return _maps(found, maps, "t-SNE")


def _pca(found: AllPoints) -> Figure:
    maps = [pca(found.clean.features, one.features) for one in found.attacks]
    return _maps(found, maps, "principal components of the clean features")


def _maps(found: AllPoints, maps: list[np.ndarray], name: str) -> Figure:
    """A row of three maps for each attack, from the places (N + M, 2) of its images."""
    count, n, colors = len(maps), len(found.labels), _colors(found.classes)
    figure = Figure(figsize=(13, 4.3 * count + 0.7), layout="constrained")
    for line, one, spots in zip(figure.subplots(count, 3, squeeze=False), found.attacks, maps, strict=True):
        y, before = found.labels, found.clean.predicted
        true, named = ((colors[y], colors[y[one.rows]]), (colors[before], colors[one.predicted]))
        both = "clean, and attacked (triangles), by"
        line[0].scatter(*spots[:n].T, c=true[0], s=9, linewidths=0)
        for axes, (dots, triangles) in zip(line[1:], (true, named), strict=True):
            axes.scatter(*spots[:n].T, c=dots, s=9, alpha=0.35, linewidths=0)
            axes.scatter(*spots[n:].T, c=triangles, s=16, marker="^", edgecolors="black", linewidths=0.25)
        titles = (f"clean, by true class ({_score(found)})", f"{both} true class", f"{both} predicted class")
        for axes, title in zip(line, titles, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.set_title(title, fontsize=9)
        line[0].set_ylabel(_short(one), fontsize=8)
    _legend(figure, colors)
    figure.suptitle(name, fontsize=10)
    return figure


def _legend(figure: Figure, colors: np.ndarray) -> None:
    if len(colors) <= NAMED:
        marks = [Line2D([], [], marker="o", ls="", color=c, label=str(k)) for k, c in enumerate(colors)]
        figure.legend(handles=marks, loc="outside lower center", ncols=len(colors), fontsize=8, title="class")


def _score(found: AllPoints) -> str:
    return f"Davies-Bouldin {clusters.davies_bouldin(found.clean.features, found.labels):.2f}"


def _colors(classes: int) -> np.ndarray:
    """(K, 4) colours, as far apart as may be."""
    name = "tab10" if classes <= 10 else "tab20" if classes <= 20 else "hsv"
    table = matplotlib.colormaps[name]
    at: Any = np.arange(classes) if classes <= 20 else np.arange(classes) / classes
    return np.asarray(table(at))


def class_map(found: AllPoints) -> Figure:
    """Distances of class means, and beside them what the images of each attack are taken for."""
    count = 1 + len(found.attacks)
    figure = Figure(figsize=(5 * count, 4.6), layout="constrained")
    first, *others = figure.subplots(1, count)
    apart = clusters.centroid_distances(found.means)
    _matrix(first, apart, "distances between class means", "class", "viridis_r")
    for axes, one in zip(others, found.attacks, strict=True):
        counts = found.confusion(one).astype(float)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        _matrix(axes, shares, f"% of a class, {_short(one)}", "predicted class", "viridis", percent=True)
    return figure


def stability(found: AllPoints) -> Figure:
    """Sensitivities to each attack, and the logarithm of the gradient landscape."""
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    moved = [found.sensitivity(one) for one in found.attacks]
    edges = np.histogram_bin_edges(np.concatenate(moved), bins=40).tolist()
    for one, sizes in zip(found.attacks, moved, strict=True):
        label = f"{_short(one)}: median {np.median(sizes):.2f}"
        left.hist(sizes, bins=edges, histtype="stepfilled", alpha=0.45, label=label)
    left.set(xlabel="|E(x) - E(x')| / |E(x)|", ylabel="images", title="sensitivity of the features")
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.14))  # below: not on the bars
    with np.errstate(divide="ignore"):
        levels = np.log10(vectors.gradient_landscape(found.slopes, found.labels))
    title = "log10 of the mean |gradient of a class' likelihood|"
    _matrix(right, np.where(np.isfinite(levels), levels, np.nan), title, "class of the likelihood", "viridis")
    return figure


def _matrix(
    axes: Axes, values: np.ndarray, title: str, across: str, colors: str, percent: bool = False
) -> None:
    """A matrix over true classes, with its numbers where there are few; what is not a number stays white."""
    shown = axes.imshow(values, cmap=colors, vmin=0 if percent else None, vmax=100 if percent else None)
    axes.figure.colorbar(shown, ax=axes, shrink=0.8)
    axes.set(xlabel=across, ylabel="true class")
    axes.set_title(title, fontsize=9)
    if len(values) > NAMED:
        return
    axes.set(xticks=range(len(values)), yticks=range(len(values)))
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value) and not (percent and value == 0):
            ink = "black" if sum(shown.to_rgba(value)[:3]) > 1.5 else "white"
            text = f"{value:.0f}" if percent else f"{value:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=6, color=ink)


def _short(points: Points) -> str:
    return points.spec if len(points.spec) <= 48 else f"{points.spec[:45]}..."
