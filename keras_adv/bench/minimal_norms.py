"""How near minimal attacks come to the best of them: AttackBench's score on a net of the zoo."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_adv import data, registry, validate, zoo
from keras_adv.attacks import Attack
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.runner import attack
from keras_adv.registry.base import Spec
from keras_adv.threats import L0, L1, L2, Linf, Threat
from keras_adv.validate import InvalidInput

NORMS: dict[str, Threat] = {"linf": Linf(), "l2": L2(), "l1": L1(), "l0": L0(pixels=False)}
"""AttackBench counts components, not pixels."""

LONG = {"boundary": {"steps": 2000}}
"""Settings of those whose default is more than the 2000 passes an image of AttackBench."""


def optimality(
    model: str = "critic_lenet_digits", images: str = "digits", batch: int = 100, only: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """One row for each minimal attack in each norm that it takes, at its default settings but for `LONG`.

    "ratio" is the local optimality of AttackBench (Cina et al., arXiv:2404.19460): 1 - (A - B) / (c d - B),
    A the area below the curve of accuracy over distance, B that of the least distance over all attacks, image
    by image, c the clean accuracy and d the largest of the least distances. An image that is not broken
    counts with d. "passes" has forward-backward + forward passes an image.

    Args:
        model: a zoo name, a run folder or a .keras file.
        images: the data; the first test images are attacked.
        batch: how many.
        only: names of attacks; empty: all.
    """
    known = [n for n, make in registry.registered("attack").items() if make.contract == "minimal"]
    for name in only:
        validate.one_of("only", name, known)
    net = zoo.open(model)
    x, y = (part[:batch] for part in data.load(images).test)
    right = classify(net, x, y, 256).correct
    for norm, threat in NORMS.items():
        found = {}
        for spec in _attacks(threat, only):
            started = time.perf_counter()
            result = attack(net, x[right], y[right], spec)
            forward = float(result.forward_passes.mean())
            passes = f"{result.passes.mean() - forward:.0f} + {forward:.0f}"
            distance = np.where(result.success, result.distance, np.inf)
            found[registry.spec(spec)] = (distance, passes, time.perf_counter() - started)
        scores = local_optimality([distance for distance, _, _ in found.values()])
        for (name, (_, passes, seconds)), score in zip(found.items(), scores, strict=True):
            yield {"name": f"{norm}: {name}", "passes": passes, "ratio": score, "seconds": seconds}


def _attacks(threat: Threat, only: Sequence[str]) -> Iterator[Attack]:
    for name, make in registry.registered("attack").items():
        if make.contract != "minimal" or (only and name not in only):
            continue
        try:
            one: Spec = make(threat=threat, **LONG.get(name, {}))
        except InvalidInput:  # of another norm
            continue
        yield one  # type: ignore[misc]


def local_optimality(distances: Sequence[np.ndarray]) -> list[float]:
    """The score of each attack, from its distances (N,) on images that are classified correctly; infinite
    where it found nothing."""
    if not distances:
        return []
    best = np.min(distances, axis=0)
    most = best[np.isfinite(best)].max(initial=0.0)
    areas = [np.minimum(each, most).mean() for each in distances]  # below the curve, per clean accuracy
    least = np.minimum(best, most).mean()
    return [1.0 - (area - least) / max(most - least, 1e-12) for area in areas]
