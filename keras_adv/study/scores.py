"""From answers to the table: labels flipped, kept, others, unsure; intervals and agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from scipy import stats

from keras_adv import validate
from keras_adv.study.answering import Answer, Answers
from keras_adv.study.key import Image, Key

KINDS = ("flipped", "kept", "other", "unsure")


def score(key: Key, people: Sequence[Answers]) -> dict[str, Any]:
    """What people saw, a row for each model and one for the clean images.

    An answer to an adversarial image is "flipped", the class that the model sees (the thesis' "% Change"),
    "kept", the true class ("% No change"), "other", or "unsure". Each image has the shares of its own
    answers, and a row their mean over its images: with one answer an image, as in the thesis, the shares
    of all answers. Clean images can have no flipped ones.

    Returns: {"study", "rows", "people"}. A row has "model" (None: clean), "images" (with an answer),
        "answers", the four shares, of flipped and kept the 95% intervals of `wilson` with n = images, so
        that several answers to an image count as one draw; "confidence", the mean of 1..5; "agreement" and
        "kappa" over the images that several people answered, or None. A person has "participant", "answers",
        "unsure", "clean", their share of correct answers to clean images, and "seconds", the median time
        an image.

    Raises:
        InvalidInput: no answer at all.
    """
    if not any(one["answers"] for one in people):
        raise validate.unusable("answers", "files with at least one answer", "none")
    given: dict[str, list[Answer]] = {name: [] for name in key["images"]}
    for one in people:
        for answer in one["answers"]:
            given[answer["image"]].append(answer)
    rows = []
    for model in (*(entry["model"] for entry in key["models"]), None):
        own = {name: image for name, image in key["images"].items() if image["model"] == model}
        if own:
            rows.append({"model": model, **_row(own, given, len(key["classes"]))})
    return {"study": key["study"], "rows": rows, "people": [_person(one, key) for one in people]}


def _row(images: Mapping[str, Image], given: Mapping[str, Sequence[Answer]], classes: int) -> dict[str, Any]:
    answered = [name for name in images if given[name]]
    every = [answer for name in answered for answer in given[name]]
    row: dict[str, Any] = {"images": len(answered), "answers": len(every)}
    means = np.mean([_shares(images[name], given[name]) for name in answered] or [[np.nan] * 4], axis=0)
    row |= {kind: float(mean) if answered else None for kind, mean in zip(KINDS, means, strict=True)}
    for kind in ("flipped", "kept"):
        row[f"{kind}_interval"] = wilson(row[kind], len(answered)) if answered else None
    sure = [answer["confidence"] for answer in every if answer["confidence"] is not None]
    counts = np.array([_counts(given[name], classes) for name in answered]).reshape(-1, classes + 1)
    row["confidence"] = float(np.mean(sure)) if sure else None
    return row | {"agreement": agreement(counts), "kappa": kappa(counts)}


def _shares(image: Image, answers: Sequence[Answer]) -> list[float]:
    """Of an image: the shares of `KINDS` among its answers."""
    kinds = [_kind(image, answer["label"]) for answer in answers]
    return [kinds.count(kind) / len(kinds) for kind in KINDS]


def _kind(image: Image, label: int | None) -> str:
    if label is None:
        return "unsure"
    return {image.get("adversarial_label"): "flipped", image["label"]: "kept"}.get(label, "other")


def _counts(answers: Sequence[Answer], classes: int) -> list[int]:
    """How often each class was answered, and last "cannot tell"."""
    labels = [classes if answer["label"] is None else answer["label"] for answer in answers]
    return np.bincount(labels, minlength=classes + 1).tolist()


def _person(one: Answers, key: Key) -> dict[str, Any]:
    clean = [a for a in one["answers"] if key["images"][a["image"]]["model"] is None]
    right = [a["label"] == key["images"][a["image"]]["label"] for a in clean]
    times = [[datetime.fromisoformat(a[end]) for end in ("shown", "answered")] for a in one["answers"]]
    return {
        "participant": one["participant"],
        "answers": len(one["answers"]),
        "unsure": sum(a["label"] is None for a in one["answers"]),
        "clean": float(np.mean(right)) if right else None,
        "seconds": float(np.median([(b - a).total_seconds() for a, b in times])) if times else None,
    }


def wilson(share: float, n: int) -> list[float]:
    """95% Wilson interval of a share of n draws, which need not be a whole number of hits: SciPy's
    `binomtest(share * n, n).proportion_ci(method="wilson")` where it is."""
    z = float(stats.norm.ppf(0.975))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    wide = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return [max(0.0, middle - wide), min(1.0, middle + wide)]


def agreement(counts: np.ndarray) -> float | None:
    """The share of pairs of answers to an image that are equal, its mean over the images with two or more;
    None without one. In [0, 1].

    Args:
        counts: (images, answers that there are), how often each was given.
    """
    n = counts.sum(1)
    counts, n = counts[n > 1], n[n > 1]
    if not len(n):
        return None
    return float(np.mean((counts * (counts - 1)).sum(1) / (n * (n - 1))))


def kappa(counts: np.ndarray) -> float | None:
    """Fleiss' kappa, (agreement - chance) / (1 - chance), chance being the sum of squared shares of each
    answer in all (Fleiss, Psychological Bulletin 76, 1971); images may have different numbers of answers,
    those with fewer than two are left out. At most 1; None without an image, or where all are equal.

    Args:
        counts: as for `agreement`.
    """
    observed, counts = agreement(counts), counts[counts.sum(1) > 1]
    if observed is None:
        return None
    chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return None if chance == 1.0 else (observed - chance) / (1.0 - chance)
