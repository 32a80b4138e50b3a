"""What attacks did to each image: kept in a file, put together, and compared between two models."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from scipy import special, stats

from keras_adv import registry, validate
from keras_adv.attacks import Attack
from keras_adv.evaluation.image_set import ImageSet, logits_of
from keras_adv.evaluation.result import Result
from keras_adv.files import write_bytes
from keras_adv.fingerprint import fingerprint
from keras_adv.losses import predicted_class


class Record(NamedTuple):
    """An attack and its result on the images of an evaluation, one row an image.

    Attributes:
        attack: the attack.
        result: what it did.
        least: (N,) the least radius of a curve in which each image is broken (see `least_radii`), or None.
    """

    attack: Attack
    result: Result
    least: np.ndarray | None = None

    @property
    def near(self) -> np.ndarray:
        """(N,) bool, whether the image on offer lies in the ball of the threat."""
        if self.attack.contract == "bounded":
            return np.full(len(self.result.clean), True)
        return np.asarray(self.result.distance <= (self.attack.threat.eps or 0.0))

    @property
    def held(self) -> np.ndarray:
        """(N,) bool, classified correctly, clean and attacked."""
        return self.result.clean & ~(self.result.success & self.near)


def worst_cases(records: Sequence[Record]) -> list[dict[str, Any]]:
    """For each threat of two attacks or more: the robust accuracy over all of them, an image for which one
    suffices counted as broken."""
    groups: dict[Any, list[Record]] = {}
    for one in records:
        if one.attack.threat.eps is not None:
            groups.setdefault((one.attack.threat.norm_name, one.attack.threat.eps), []).append(one)
    rows = []
    for several in groups.values():
        if len(several) > 1:
            threat = registry.spec(several[0].attack.threat)
            held = np.logical_and.reduce([one.held for one in several])
            specs = [registry.spec(one.attack) for one in several]
            share = float(held.mean())
            rows.append(
                {
                    "threat": threat,
                    "attacks": specs,
                    "robust_accuracy": share,
                    "interval": interval(int(held.sum()), len(held)),
                }
            )
    return rows


def interval(hits: int, n: int) -> list[float]:
    """95% Wilson interval of a share."""
    low, high = stats.binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return [round(float(low), 4), round(float(high), 4)]


SHOWN = 60
"""Images of an attack that are kept to be looked at, at most; equally many of each class."""


def save(
    path: Path,
    model: keras.Model,
    images: ImageSet,
    records: Sequence[Record],
    index: np.ndarray,
    batch_size: int,
) -> None:
    """Writes an npz file of one row an image of a set, whose places in the whole set are `index`.

    Arrays: `index`, `label`, `prediction` and its `confidence`; `spec` of the attacks, and of attack k
    `k_prediction` and `k_confidence` on the image on offer (of a random net in one draw), `k_success`,
    `k_norm`, `k_passes` (forward-backward; of attacks without gradients 0), `k_forward_passes`, where the
    threat has an eps `k_held`, with several radii `k_least_eps`;
    and to be looked at `k_shown`, rows that it fooled, with `k_before` and `k_after`, their images in 256
    levels (of those outside the box, as they would be shown).
    """
    kept: dict[str, Any] = {
        "images": np.array(fingerprint(images.x)),
        "index": index,
        "label": images.y,
        **_decided("", images.logits),
    }
    kept["spec"] = np.array([registry.spec(one.attack) for one in records], dtype=str)
    for k, one in enumerate(records):
        result = one.result
        kept |= _decided(f"{k}_", logits_of(model, result.images, batch_size))
        kept |= {f"{k}_success": result.success, f"{k}_norm": result.distance}
        if one.attack.threat.eps is not None:
            kept[f"{k}_held"] = one.held
        kept[f"{k}_passes"] = result.passes - result.forward_passes
        kept[f"{k}_forward_passes"] = result.forward_passes
        if one.least is not None:
            kept[f"{k}_least_eps"] = one.least
        kept[f"{k}_shown"] = shown = _shown(result.clean & result.success, images)
        for name, pictures in (("before", images.x), ("after", result.images)):
            kept[f"{k}_{name}"] = np.round(255 * np.clip(pictures[shown], 0, 1)).astype("uint8")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept)
    write_bytes(path, buffer.getvalue())


def _decided(name: str, logits: np.ndarray) -> dict[str, np.ndarray]:
    chosen = np.asarray(predicted_class(logits))
    confidence = special.softmax(logits.astype("float64"), axis=1).max(1)
    return {f"{name}prediction": chosen, f"{name}confidence": confidence.astype("float32")}


def _shown(fooled: np.ndarray, images: ImageSet) -> np.ndarray:
    """Rows, by true class."""
    of_each = max(1, SHOWN // images.classes)
    rows = [np.flatnonzero(fooled & (images.y == label))[:of_each] for label in range(images.classes)]
    return np.concatenate(rows)[:SHOWN]


def load(path: Path | str) -> dict[str, np.ndarray]:
    """The arrays of a file that `save` wrote. Raises InvalidInput where it is none."""
    try:
        with np.load(path, allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise validate.invalid("records", "an existing file of an evaluation's records", str(path)) from error
    if not {"images", "index", "label", "prediction", "spec"} <= set(kept):
        raise validate.invalid("records", "a file of an evaluation's records", sorted(kept))
    return kept


def compare(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Two models on the same images, attack by attack: how much more of them the first holds.

    Returns: for the clean accuracy and each attack that has a radius {"spec", "difference", "interval",
        "only_first", "only_second"}: the difference of the shares of images held, its 95% interval (Agresti &
        Min, Stat. Med. 2005: Wald's with half an image more in each cell), and the images that only one of
        them holds.

    Raises:
        InvalidInput: records of other images or attacks.
    """
    for name in ("images", "index", "label", "spec"):
        if not np.array_equal(ours[name], theirs[name]):
            raise validate.unusable("records", f"those of the same {name}", "others")
    pairs = {"clean": [part["prediction"] == part["label"] for part in (ours, theirs)]}
    for k, spec in enumerate(ours["spec"]):
        if f"{k}_held" not in ours:  # no radius, so no image is held
            continue
        pairs[str(spec)] = [part[f"{k}_held"] for part in (ours, theirs)]
    return [{"spec": spec, **_difference(*held)} for spec, held in pairs.items()]


def _difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    n, a, b = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    middle = (a - b) / (n + 2)
    wide = stats.norm.ppf(0.975) * np.sqrt((a + b + 1) / (n + 2) - middle**2) / np.sqrt(n + 2)
    between = [round(float(v), 4) for v in (middle - wide, middle + wide)]
    return {"difference": (a - b) / n, "interval": between, "only_first": a, "only_second": b}
