"""What `embed` returns: features, the figures that are read from them, and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from keras_adv import validate
from keras_adv.evaluation.embedding import clusters, pictures, vectors
from keras_adv.evaluation.embedding.divergence import divergence_bound
from keras_adv.evaluation.embedding.points import AllPoints, Points


class Embedding(AllPoints):
    """`AllPoints` with the figures and pictures of the papers."""

    def summary(self) -> dict[str, Any]:
        """All figures, fit for JSON; None where one says nothing.

        Returns:
            {"n", "classes", "features", "centres": "fixed" or "means", "clean", "attacks",
            "centroid_distances" (K x K), "gradient_landscape" (K x K)}. "clean" and each of "attacks" have
            "spec", "n", "accuracy", "davies_bouldin", "match_rate", "cosine_own", "cosine_predicted" and
            "norm" (mean and standard deviation over images), "active_units" and "pca_dimensions"; an attack
            also "sensitivity" (median, standard deviation), "confusion" (K x K), "nearest_share" of the
            mistakes on images that were right, "bound" (`DivergenceBound`) and, from the second on, "angle"
            (mean, standard deviation).
        """
        return {
            "n": len(self.labels),
            "classes": self.classes,
            "features": self.clean.features.shape[1],
            "centres": "means" if self.own_centres is None else "fixed",
            "clean": self._figures(self.clean),
            "attacks": [self._of_attack(one) for one in self.attacks],
            "centroid_distances": _plain(clusters.centroid_distances(self.means)),
            "gradient_landscape": _plain(vectors.gradient_landscape(self.slopes, self.labels)),
        }

    def pictures(self, folder: Path | str) -> list[Path]:
        """Draws tsne.png, pca.png, classes.png and stability.png (`embedding.pictures`), and returns them.

        Cost: t-SNE takes some seconds for a thousand images, an attack.

        Raises:
            InvalidInput: a folder that cannot be written.
        """
        return pictures.draw(self, validate.output_folder(folder, "folder"))

    def _figures(self, points: Points) -> dict[str, Any]:
        y, each = self.labels[points.rows], np.arange(len(points.rows))
        cosines = vectors.cosine_to_centres(points.features, self.centres)
        return {
            "spec": points.spec,
            "n": len(y),
            "accuracy": float((points.predicted == y).mean()),
            "davies_bouldin": _plain(clusters.davies_bouldin(points.features, y)),
            "match_rate": clusters.match_rate(self.clusters, points.features, points.predicted),
            "cosine_own": _mean(cosines[each, y]),
            "cosine_predicted": _mean(cosines[each, points.predicted]),
            "norm": _mean(np.linalg.norm(points.features, axis=1)),
            "active_units": vectors.active_units(points.features),
            "pca_dimensions": vectors.pca_dimensions(points.features),
        }

    def _of_attack(self, points: Points) -> dict[str, Any]:
        before, y = self.clean.features[points.rows], self.labels[points.rows]
        moved, counts = self.sensitivity(points), self.confusion(points)
        error = float((self.clean.predicted[points.rows] != y).mean())
        bound = divergence_bound(before, points.features, y, error)
        found = {
            **self._figures(points),
            "sensitivity": [float(np.median(moved)), float(moved.std())],
            "confusion": counts.tolist(),
            "nearest_share": _plain(clusters.nearest_share(clusters.centroid_distances(self.means), counts)),
            "bound": {name: _plain(value) for name, value in bound._asdict().items()},
        }
        first = self.attacks[0]
        if points is first:
            return found
        both, a, b = np.intersect1d(first.rows, points.rows, return_indices=True)
        clean = self.clean.features[both]
        return {
            **found,
            "angle": _mean(vectors.angles(first.features[a] - clean, points.features[b] - clean)),
        }


def _mean(values: np.ndarray) -> list[float | None]:
    """[mean, standard deviation] of those that are numbers."""
    known = values[~np.isnan(values)]
    return [float(known.mean()), float(known.std())] if len(known) else [None, None]


def _plain(values: Any) -> Any:
    """Numbers, or nested lists of them, for JSON: None for NaN and infinity."""
    if isinstance(values, np.ndarray):
        return [_plain(value) for value in values]
    return float(values) if np.isfinite(values) else None
