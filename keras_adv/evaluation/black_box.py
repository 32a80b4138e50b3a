"""Adversarial images made on one model, judged on another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.evaluation.every_step import every_step
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
    "high_confidence". A bounded one stops there too, at the first mistake of the source; in `transfer_matrix`
    it takes all its steps.

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


def check_pair(source: keras.Model, target: keras.Model, name: str = "target") -> None:
    """Raises InvalidInput, naming the argument, for a model of other images or classes than the source."""
    for of in ("input_shape", "output_shape"):
        shapes = getattr(source, of, None), getattr(target, of, None)
        if shapes[0] != shapes[1]:
            raise invalid(name, f"of the {of} of the source, {shapes[0]}", shapes[1])


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


class TransferMatrix(NamedTuple):
    """What `transfer_matrix` found. Row i: the images were made on model i; column j: model j is judged.

    Attributes:
        names: (M,) of the models.
        attack: its spec.
        n: images.
        clean_accuracy: (M,) of the models.
        robust_accuracy: (M, M) share of all images that model j classifies correctly, clean and as made on
            model i; on the diagonal that of `evaluate`, which stops at the first mistake.
        success: (M, M) of the images that both models classify correctly, the share that model j then gets
            wrong; NaN where there are none. On the diagonal the success of the attack.
    """

    names: tuple[str, ...]
    attack: str
    n: int
    clean_accuracy: np.ndarray
    robust_accuracy: np.ndarray
    success: np.ndarray


@in_float32()
def transfer_matrix(
    models: Mapping[str, keras.Model],
    x: Any,
    y: Any,
    method: Attack | str,
    *,
    batch_size: int = 256,
    seed: int = 0,
) -> TransferMatrix:
    """Attacks each of several models, and shows its images to all the others.

    A bounded attack takes all its steps on every image, also on those that its model gets wrong anyway: the
    first mistake, at which `attack` and `transfer` stop, is one for that model alone. Attacks that end with a
    mistake (minimal ones, ensembles) send that, and clean images that their model gets wrong.

    A model that stands better against its own images than against those of another masks its gradients from
    the attack: an attacker without access should not do better than one with it.

    Args:
        models: by name, of the same images and classes.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        method: an attack or its spec, for one with minimal perturbations within its threat's eps.
        batch_size: images at a time.
        seed: of random starts.

    Cost: M attacks, M more where all steps are taken, and M^2 forward passes an image.

    Raises:
        InvalidInput: as `transfer`.
    """
    chosen: Attack = registry.parse("attack", method)
    if not isinstance(models, Mapping) or not models:
        raise invalid("models", "of the form {name: model}", models)
    nets = list(models.values())
    for net in nets[1:]:
        check_pair(nets[0], net, "models")
    seen = [classify(net, x, y, batch_size, seed) for net in nets]
    robust, success = np.zeros((2, len(nets), len(nets)))
    for i, source in enumerate(nets):
        made = attack(source, seen[i].x, seen[i].y, chosen, batch_size=batch_size, seed=seed)
        last = every_step(source, seen[i], chosen, batch_size, seed)
        sent = made.images if last is None else last
        for j, target in enumerate(nets):
            fooled = made.success if i == j else ~classify(target, sent, seen[i].y, batch_size).correct
            held = Record(chosen, made._replace(clean=seen[j].correct, success=fooled)).held
            both = seen[i].correct & seen[j].correct
            robust[i, j] = held.mean()
            success[i, j] = (~held)[both].mean() if both.any() else np.nan
    clean = np.array([images.correct.mean() for images in seen])
    return TransferMatrix(tuple(models), registry.spec(chosen), len(seen[0].x), clean, robust, success)
