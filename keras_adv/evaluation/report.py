"""Robust accuracy and perturbation sizes, fit for JSON."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from keras_adv import registry
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.evaluation import certified, curves, goals
from keras_adv.evaluation.image_set import ImageSet, logits_of
from keras_adv.evaluation.masking import flags_of, outside, result_flags
from keras_adv.evaluation.plan import Plan, make_plan
from keras_adv.evaluation.records import Record, interval, save, worst_cases
from keras_adv.evaluation.result import Result, Stage
from keras_adv.evaluation.runner import attack_examples
from keras_adv.losses import predicted_class
from keras_adv.threats import Linf, Threat


def summary(record: Record, x: np.ndarray) -> dict[str, Any]:
    """One row of the results of an attack on images x.

    robust_accuracy counts images classified correctly both clean and attacked, over all images, and
    robust_accuracy_of_correct over the correctly classified; for a minimal attack at the eps of its threat,
    None without one. success_rate is over the correctly classified;
    mean and median norm over those of them for which an adversarial image was found, and so mean_ratio, the
    papers' rho: the norm over that of the image. Those for which a minimal attack found none, or did not
    reach the confidence asked for, are in no norm: not_found counts them (the thesis counts their last try).
    With targets success is to reach them, and still_correct the share of all images that are classified
    correctly after the attack: the accuracy under targeted attacks of MAT's table 3.
    Of a threat without the box, outside counts the adversarial images with values beyond [0, 1].
    For a random net over_draws has the robust accuracy of single draws: mean, and the range of 95% of them.
    """
    chosen, result, near = record.attack, record.result, record.near
    n, eps = len(result.clean), chosen.threat.eps
    found = result.clean & result.success
    norms = result.distance[found]
    sizes = np.asarray(chosen.threat.norm(x[found])) if len(norms) else norms
    held = None if eps is None else int(record.held.sum())
    row: dict[str, Any] = {"parts": result.parts} if result.parts else {}
    if chosen.contract == "minimal":
        row["not_found"] = int((result.clean & ~result.success).sum())
    if not chosen.threat.box:
        row["outside"] = outside(result)
    if result.verdicts is not None and held is not None:
        row["over_draws"] = _over_draws(result.clean[:, None] & ~(result.verdicts & near[:, None]))
    return {
        "spec": registry.spec(chosen),
        "full_spec": registry.spec(chosen, full=True),
        "robust_accuracy": None if held is None else held / n,
        "robust_accuracy_of_correct": None if held is None else held / max(1, int(result.clean.sum())),
        "interval": None if held is None else interval(held, n),
        "success_rate": float(found.sum() / max(1, result.clean.sum())),
        "mean_norm": float(norms.mean()) if len(norms) else None,
        "median_norm": float(np.median(norms)) if len(norms) else None,
        "mean_ratio": float((norms / np.maximum(sizes, 1e-12)).mean()) if len(norms) else None,
        "gradients_per_image": float(result.passes.mean()),
        "seconds": round(result.seconds, 3),
        **row,
    }


def _over_draws(held: np.ndarray) -> dict[str, Any]:
    """The robust accuracy of one draw of a random net, mean and where 95% of the draws lie, given whether
    each image stands in each draw (N, draws)."""
    of_each = held.mean(0)
    low, high = np.percentile(of_each, [2.5, 97.5])
    return {
        "draws": held.shape[1],
        "mean": round(float(of_each.mean()), 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
    }


def evaluate(
    model: keras.Model,
    x: Any,
    y: Any,
    attacks: Iterable[Attack | str] | Attack | str,
    *,
    targets: Any = None,
    batch_size: int = 256,
    seed: int = 0,
    verbose: bool = False,
    resume: Path | str | None = None,
    certify: Threat | str | None = None,
    shard: str | None = None,
    merge: bool = False,
    eps: Any = None,
    records: Path | str | None = None,
) -> dict[str, Any]:
    """Clean accuracy and one row for each attack (see `summary` for the definitions).

    Args:
        model: Keras model, images in [0, 1] -> logits.
        x: images (N, H, W, C) in [0, 1], or a `tf.data.Dataset` or `PyDataset` of images and labels.
        y: integer labels (N,); None with a data set.
        attacks: attacks or their specs; one, or several.
        targets: classes to reach, as in `attack`.
        batch_size: images at a time.
        seed: of random starts.
        verbose: show progress.
        resume: folder for what is finished: the same call, killed and made again, goes on.
        certify: "linf(eps=0.3)": also count the images of which interval bounds prove that no attack in this
            ball succeeds; 0 but for nets that were trained for it (`ibp`). None: do not.
        shard: "2/8": attack only the second of eight parts of the images, and report on it; `resume` keeps
            the results. Parts may run at the same time, on several machines that share that folder.
        merge: attack nothing: put together what `resume` has of all shards. It is what the call without
            `shard` would tell, but for the seconds and the rounding of float32 in batches of another size.
        eps: several radii, in place of those of the attacks' threats, which must be of one norm: the rows are
            of the largest, and each has the "curve" over all (see `curves`). The largest ball costs what it
            costs alone, each smaller one only what an attack on the images takes that the next larger broke;
            PGD, BIM and MIM go on there from the images they have found, in half of the steps or fewer. Ten
            radii cost about twice the largest (PGD-40) where that leaves a tenth of the images; more where it
            breaks all, in a few steps.
        records: file.npz to write with what each attack did to each image (see `records.save`).

    Returns:
        {"n", "clean_accuracy", "clean_interval", "attacks": [a `summary` for each attack], "flags"}, fit for
        JSON; flags are sentences that put the figures in doubt, of the model and, in its row, of an attack.
        Where attacks share a threat also "worst": [{"threat", "attacks", "robust_accuracy", "interval"}], the
        worst case over them, image by image. With `certify` also "certified": {"threat", "accuracy",
        "interval"}.

    Raises:
        InvalidInput: as `attack`; every attack is parsed before the first one starts. `merge` before all
            shards have ended; several radii with shards, or with attacks of several norms.

    >>> import keras_adv
    >>> model = keras_adv.zoo.load("critic_lenet_digits")
    >>> x, y = (part[:50] for part in keras_adv.data.load("digits").test)
    >>> keras_adv.evaluate(model, x, y, ["fgsm(threat=linf(eps=0.1))"])["attacks"][0]["robust_accuracy"]
    0.94
    """
    made = make_plan(
        model, x, y, attacks, targets=targets, batch_size=batch_size, seed=seed, resume=resume,
        certify=certify, shard=shard, merge=merge, eps=eps, records=records,
    )  # fmt: skip
    return carry_out(made, verbose)


@in_float32()
def carry_out(plan: Plan, verbose: bool = False) -> dict[str, Any]:
    """What `evaluate` returns, of a plan that is made already."""
    with Progress(console=Console(stderr=True), transient=True, disable=not verbose) as bar:
        found = [_attacked(plan, one, bar) for one in plan.attacks]
    images, measured = plan.images.take(plan.mine), [record for record, _ in found]
    if plan.file is not None:
        save(plan.file, plan.model, images, measured, np.flatnonzero(plan.mine), plan.batch_size)
    results = results_of(plan.model, images, measured)
    for row, (_, more) in zip(results["attacks"], found, strict=True):
        row.update(more)
    if plan.ball is not None:
        results["certified"] = _certified(plan.model, images, plan.ball, plan.batch_size)
    return results


def results_of(model: keras.Model, images: ImageSet, records: Sequence[Record]) -> dict[str, Any]:
    """What `evaluate` returns of these attacks on these images, curves and proofs apart."""
    count = int(images.correct.sum())
    return {
        "n": len(images.x),
        "clean_accuracy": count / len(images.x),
        "clean_interval": interval(count, len(images.x)),
        "attacks": [_row(model, images, one) for one in records],
        "flags": flags_of(model, images),
        **({"worst": worst} if (worst := worst_cases(records)) else {}),
    }


def _attacked(plan: Plan, one: Attack, bar: Progress) -> tuple[Record, dict[str, Any]]:
    """One attack on the images of the plan, and what its row has besides."""
    task = bar.add_task(one.name, total=None)
    tell = functools.partial(_show, bar, task, one.name)
    examples = goals.make_examples(one, plan.images, plan.seed, None, plan.targets)
    how: dict[str, Any] = {"batch_size": plan.batch_size, "folder": plan.folder}
    asked: dict[str, Any] = {"only": plan.mine, "finished": plan.merge, "stages": tell}
    result = attack_examples(plan.model, plan.images, examples, one, **how, **asked)
    bar.update(task, total=1, completed=1)
    more = {} if plan.targets is None else _under_targets(plan, result)
    if plan.radii is None:
        return Record(one, result.take(plan.mine)), more
    least, passes = curves.least_radii(plan.model, plan.images, examples, one, result, plan.radii, **how)
    return Record(one, result, least), {**more, "curve": curves.curve(least, plan.radii, passes)}


def _under_targets(plan: Plan, result: Result) -> dict[str, Any]:
    """What a row says besides where an attack has targets: `still_correct`."""
    rows = plan.mine
    found = predicted_class(logits_of(plan.model, result.images[rows], plan.batch_size))
    return {"still_correct": float((np.asarray(found) == plan.images.y[rows]).mean())}


def _row(model: keras.Model, images: ImageSet, record: Record) -> dict[str, Any]:
    return {**summary(record, images.x), "flags": result_flags(model, record.attack, record.result)}


def _certified(model: keras.Model, images: ImageSet, threat: Linf, batch_size: int) -> dict[str, Any]:
    held = int(certified.certified(model, images, threat, batch_size).sum())
    n = len(images.x)
    return {"threat": registry.spec(threat), "accuracy": held / n, "interval": interval(held, n)}


def _show(bar: Progress, task: TaskID, name: str, stage: Stage) -> None:
    """The part at work and the images that stand; the bar, and so the time left, is of passes."""
    part = f" {stage.number}/{stage.parts} {stage.part.split('(')[0]}" if stage.parts > 1 else ""
    text = f"{name}{part}, {stage.done} of {stage.total}"
    bar.update(task, completed=stage.spent, total=stage.spent + stage.left, description=text)
