"""Adversarial images made on one model, judged on another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.records import Record, save
from keras_adv.evaluation.report import results_of
from keras_adv.evaluation.result import Result
from keras_adv.evaluation.runner import attack
from keras_adv.validate import invalid


@in_float32()
def transfer(
    source: keras.Model,
    target: keras.Model,
    x: Any,
    y: Any,
    method: Attack | str,
    *,
    eps: Any = None,
    batch_size: int = 256,
    seed: int = 0,
) -> Result:
    """Attacks `source`, and says what its images do to `target`: an attacker who has no access to the target.

    Minimal attacks stop just beyond the source's boundary and seldom transfer: use a bounded one, or
    "high_confidence".

    Args:
        source: the model that the attack sees.
        target: the model that is judged.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        method: an attack or its spec.
        eps: the radius in place of the threat's own, as in `keras_adv.attack`.
        batch_size: images at a time.
        seed: of random starts.

    Returns: `Result` of the target: `clean` and `success` are its decisions; the rest is the attack's on the
        source. Images that the source gets wrong anyway are left as they are.

    Raises:
        InvalidInput: as `keras_adv.attack`; models of different images or classes.
    """
    check_pair(source, target)
    clean = classify(target, x, y, batch_size)
    made = attack(source, x, y, method, eps=eps, batch_size=batch_size, seed=seed)
    attacked = classify(target, made.images, clean.y, batch_size)
    return made._replace(clean=clean.correct, success=~attacked.correct)


def check_pair(source: keras.Model, target: keras.Model) -> None:
    """Raises InvalidInput where two models are of different images or classes."""
    for name in ("input_shape", "output_shape"):
        shapes = getattr(source, name, None), getattr(target, name, None)
        if shapes[0] != shapes[1]:
            raise invalid("target", f"a model of the source's {name}, {shapes[0]}", shapes[1])


@in_float32()
def transfers(
    source: keras.Model,
    target: keras.Model,
    x: Any,
    y: Any,
    attacks: Iterable[Attack | str],
    *,
    batch_size: int = 256,
    seed: int = 0,
    records: Path | str | None = None,
) -> dict[str, Any]:
    """As `evaluate` of the target, by attacks that see the source alone (`transfer`).

    Args:
        source: the model that the attacks see.
        target: the model that is judged.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attacks: attacks or their specs.
        batch_size: images at a time.
        seed: of random starts.
        records: as of `evaluate`.

    Raises:
        InvalidInput: as `transfer`; every attack is parsed before the first one starts.
    """
    chosen = [registry.parse("attack", one) for one in attacks]
    file = None if records is None else validate.output_file(records, "records")
    how: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    found = [transfer(source, target, x, y, one, **how) for one in chosen]
    # how many stand after each part of an attack is said of the source
    made = [Record(one, result._replace(parts={})) for one, result in zip(chosen, found, strict=True)]
    images = classify(target, x, y, batch_size)
    if file is not None:
        save(file, target, images, made, np.arange(len(images.x)), batch_size)
    return results_of(target, images, made)
