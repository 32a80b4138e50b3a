"""What `evaluate` is to do, checked before the first attack starts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.evaluation import certified, curves, goals
from keras_adv.evaluation.image_set import ImageSet, classify
from keras_adv.threats import Linf, Threat
from keras_adv.validate import invalid


class Plan(NamedTuple):
    """An evaluation that can start: nothing that `evaluate` was given stands in its way.

    Attributes:
        model: the model.
        images: the set, classified.
        attacks: the attacks, at the largest of the radii where there are several.
        radii: of a curve, in ascending order, or None.
        mine: (N,) bool, the images of the shard.
        ball: whose images are to be certified, or None.
        folder: for what is finished, or None.
        file: for the records, or None.
        targets, batch_size, seed, merge: as of `evaluate`.
    """

    model: keras.Model
    images: ImageSet
    attacks: list[Attack]
    radii: list[float] | None
    mine: np.ndarray
    ball: Linf | None
    folder: Path | None
    file: Path | None
    targets: Any
    batch_size: int
    seed: int
    merge: bool


@in_float32()
def make_plan(
    model: keras.Model,
    x: Any,
    y: Any,
    attacks: Iterable[Attack | str] | Attack | str,
    *,
    targets: Any = None,
    batch_size: int = 256,
    seed: int = 0,
    resume: Path | str | None = None,
    certify: Threat | str | None = None,
    shard: str | None = None,
    merge: bool = False,
    eps: Any = None,
    records: Path | str | None = None,
) -> Plan:
    """The plan of an evaluation; all is as of `evaluate`, which raises what this raises.

    Cost: a forward pass an image, and 64 more.
    """
    if not isinstance(attacks, (Iterable, Attack)):
        raise invalid("attacks", "attacks or their specs", attacks)
    listed = [attacks] if isinstance(attacks, (str, Attack)) else attacks
    chosen = [registry.parse("attack", a) for a in listed]
    radii = None if eps is None else curves.check_radii(chosen, eps)
    if radii is not None:
        chosen = [one.replace(threat=one.threat.replace(eps=radii[-1])) for one in chosen]
    folder = _folder(resume, shard, merge, radii)
    file = None if records is None else validate.output_file(records, "records")
    images = classify(model, x, y, batch_size, seed)
    mine = shard_rows(shard, len(images.x))
    ball = None if certify is None else certified.check(model, certify)
    for one in chosen:
        goals.check_goal(one, images, targets)
    return Plan(model, images, chosen, radii, mine, ball, folder, file, targets, batch_size, seed, merge)


def shard_rows(shard: str | None, n: int) -> np.ndarray:
    """(N,) bool, the images of a shard "k/of", every of-th from the k-th on; None: all.

    Raises:
        InvalidInput: no such shard, or one without images.
    """
    if shard is None:
        return np.full(n, True)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(shard))
    k, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= k <= of <= n:
        raise invalid("shard", f"of the form 2/8, the second of eight, at most {n} for so many images", shard)
    return np.arange(n) % of == k - 1


def _folder(resume: Any, shard: str | None, merge: bool, radii: Any) -> Path | None:
    folder = None if resume is None else validate.output_folder(resume, "resume")
    if folder is None and (shard is not None or merge):
        raise invalid("resume", "a folder, with `shard` or `merge`", resume)
    if radii is not None and (shard is not None or merge):
        raise invalid("eps", "None, with `shard` or `merge`", radii)
    return folder
