"""Robust accuracy and perturbation sizes, as a table and as JSON."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from scipy import stats

from keras_adv import registry
from keras_adv.attacks import Attack
from keras_adv.evaluation.runner import Result, attack, classify


def interval(hits: int, n: int) -> list[float]:
    """95% Wilson interval of a share."""
    low, high = stats.binomtest(int(hits), int(n)).proportion_ci(method="wilson")
    return [round(float(low), 4), round(float(high), 4)]


def summary(chosen: Attack, result: Result) -> dict[str, Any]:
    """One row of the results of an attack.

    robust_accuracy counts images classified correctly both clean and attacked, over all images; for a minimal
    attack at the eps of its threat, None without one. success_rate is over the correctly classified;
    mean and median norm over those of them for which an adversarial image was found.
    """
    n, eps = len(result.clean), chosen.threat.eps
    found = result.clean & result.success
    norms = result.distance[found]
    beaten = found if chosen.contract == "bounded" else found & (result.distance <= (eps or 0.0))
    held = None if eps is None else int((result.clean & ~beaten).sum())
    return {
        "spec": registry.spec(chosen),
        "robust_accuracy": None if held is None else held / n,
        "interval": None if held is None else interval(held, n),
        "success_rate": float(found.sum() / max(1, result.clean.sum())),
        "mean_norm": float(norms.mean()) if len(norms) else None,
        "median_norm": float(np.median(norms)) if len(norms) else None,
        "gradients_per_image": float(result.gradients.mean()),
        "seconds": round(result.seconds, 3),
    }


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any,
    attacks: Iterable[Attack | str] | Attack | str,
    *,
    batch_size: int = 256,
    seed: int = 0,
    verbose: bool = False,
) -> dict[str, Any]:
    """Clean accuracy and one row for each attack (see `summary` for the definitions).

    Args:
        model: Keras model, images in [0, 1] -> logits.
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        attacks: attacks or their specs; one, or several.
        batch_size: images at a time.
        seed: of random starts.
        verbose: show progress.

    Raises:
        InvalidInput: as `attack`; every attack is parsed before the first one starts.
    """
    listed = [attacks] if isinstance(attacks, (str, Attack)) else attacks
    chosen = [registry.parse("attack", a) for a in listed]
    rows, clean = [], None
    with Progress(console=Console(stderr=True), transient=True, disable=not verbose) as bar:
        for one in chosen:
            task = bar.add_task(one.name, total=len(x))
            tick = functools.partial(_tick, bar, task)
            result = attack(model, x, y, one, batch_size=batch_size, seed=seed, progress=tick)
            bar.update(task, completed=len(x))
            clean = result.clean
            rows.append(summary(one, result))
    if clean is None:
        _, labels, logits = classify(model, x, y, batch_size, seed)
        clean = logits.argmax(1) == labels
    accuracy = float(clean.mean())
    return {
        "n": len(x),
        "clean_accuracy": accuracy,
        "clean_interval": interval(int(clean.sum()), len(x)),
        "attacks": rows,
    }


def _tick(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def table(results: dict[str, Any], title: str = "") -> Table:
    """The results as a rich table."""
    made = Table(
        title=title or None, caption=f"clean accuracy {results['clean_accuracy']:.2%}, n = {results['n']}"
    )
    for column in ("attack", "robust acc", "success", "mean norm", "median", "gradients", "seconds"):
        made.add_column(column, justify="left" if column == "attack" else "right", overflow="fold")
    for row in results["attacks"]:
        made.add_row(
            row["spec"],
            _text(row["robust_accuracy"], "{:.2%}"),
            f"{row['success_rate']:.2%}",
            _text(row["mean_norm"], "{:.4f}"),
            _text(row["median_norm"], "{:.4f}"),
            f"{row['gradients_per_image']:.1f}",
            f"{row['seconds']:.1f}",
        )
    return made


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
