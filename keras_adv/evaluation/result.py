"""What an attack on a data set has done, and how far it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Stage(NamedTuple):
    """How far an attack on a data set is.

    Attributes:
        done: images that the part at work, or one before it, is done with.
        total: images that are attacked.
        part: the spec of the part at work.
        number: which part it is, from 1 on.
        parts: how many there are.
        spent: passes so far, a forward pass counted as a third of one forward and backward.
        left: those that are left if no more images fall.
    """

    done: int
    total: int
    part: str
    number: int
    parts: int
    spent: float
    left: float


class Result(NamedTuple):
    """An attack on a data set, one row an image (NumPy).

    Attributes:
        images: adversarial images; the clean one where it was misclassified anyway or, for a minimal
            attack, where none was found.
        clean: bool, the clean image is classified correctly.
        success: bool, `images` are misclassified (so true where `clean` is false), or reach their target.
        distance: norm of the change in the attack's threat.
        passes: spent on the image: forward-backward, or forward for an attack without gradients.
        forward_passes: those of `passes` that were forward alone.
        seconds: wall time of the whole run, compilation included.
        parts: for an attack of several parts, spec -> images standing after it; else empty.
        verdicts: of a random net (N, draws) bool, whether `images` are misclassified in each of the fresh
            draws that judged them, most of which are `success`; else None.
    """

    images: np.ndarray
    clean: np.ndarray
    success: np.ndarray
    distance: np.ndarray
    passes: np.ndarray
    forward_passes: np.ndarray
    seconds: float
    parts: dict[str, int]
    verdicts: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Result:
        """The result of these images alone; `parts` are only known of all."""
        kept: dict[str, Any] = {
            name: None if (v := getattr(self, name)) is None else v[rows] for name in _PER_IMAGE
        }
        return self._replace(**kept, parts=self.parts if rows.all() else {})


_PER_IMAGE = ("images", "clean", "success", "distance", "passes", "forward_passes", "verdicts")
