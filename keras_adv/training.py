"""`train(recipe, out)`: the one way from data to a served, measured model."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_adv import artifact, backend, data, environment, files, registry, runs, validate, zoo
from keras_adv.attacks import Attack
from keras_adv.callbacks import Checkpoint, KeepEpochs, rows_of, thinned
from keras_adv.card import ModelCard
from keras_adv.card_schema import CURVE
from keras_adv.engine import depends_on_length
from keras_adv.evaluation import audit, certified, evaluate, pictures, records
from keras_adv.evaluation.along import EPOCHS
from keras_adv.evaluation.auditing import audited_threat
from keras_adv.fingerprint import sha256
from keras_adv.flop import forward_flop, training_flop
from keras_adv.recipes import Recipe
from keras_adv.run_folder import claim_folder, is_of_fewer_epochs, is_shorter, reclaim_folder
from keras_adv.serving.export import export
from keras_adv.threats import Threat

ATTACKS = (
    "pgd(threat=linf(eps=0.1))",
    "pgd(threat=l2(eps=0.5))",
    "deepfool()",
    "high_confidence()",
    "pdgd()",
    "pdpgd()",
)
AUDIT_OF = 100
"""Images of an audit, at most."""


def train(
    recipe: Recipe | str,
    out: str | Path,
    *,
    attacks: Sequence[Attack | str] = ATTACKS,
    split: str = "test",
    n: int = 1000,
    half: bool = False,
    certify: Threat | str | None = None,
    extend: bool = False,
    distribute: str = "none",
    keep: Collection[int] = (),
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
) -> ModelCard:
    """Trains, exports and measures a model; a run that was interrupted goes on.

    A run that is finished is not repeated: its card is returned, whatever the attacks; `evaluate` measures
    more. (To a card that an earlier version wrote, what the training took and its curve are added, by
    history.csv.) With `extend` it goes on to more epochs, and ends as a run of so many from the start would
    have.

    Writes into `out`: model.keras, saved_model/1/, history.csv, tensorboard/, curves.png, examples.png,
    records.npz (`records.save`), recipe.txt, and last card.json and README.md. The measurement is of
    model.keras as read back from disk. In backup/ stays what more epochs would go on from, about three times
    the weights; it may be deleted.

    Args:
        recipe: a recipe or its spec.
        out: run folder: new, empty, or of the same recipe.
        attacks: what to measure with.
        split: "test", "validation" (for searches) or "train".
        n: at most this many images are attacked.
        half: round the trained weights to float16 and keep them so in model.keras, half the bytes; what is
            measured and served are the rounded weights, in float32.
        certify: "linf(eps=0.3)": also measure the certified accuracy (see `keras_adv.evaluate`).
        extend: `out` may also hold a run of the same recipe with fewer epochs. Not where the length of the
            run counts from its first step: with a schedule of the rate, or an average of the last weights.
        distribute: "mirrored" (TensorFlow) or "data_parallel" (JAX): all devices of this machine train
            together; the batch is divided among them. On JAX also those of several processes or machines that
            share `out`, after `backend.join` in each: the first writes and measures. No part of the recipe,
            for one device would train the same.
        keep: epochs, from 1 on, after which the model is kept as `out`/epochs/epoch-0005.keras, for
            `keras_adv.evaluation.along_training`. No part of the recipe; those that an interrupted run has
            behind it are not made again.
        callbacks: of Keras, beside the run's own: MLflow's or Weights & Biases', say.
        verbose: as in `keras_adv.defend`.

    Returns:
        The card that was written, or found.

    Raises:
        InvalidInput: bad recipe, data or folder, or one that another process trains in, before anything is
            written.
        FloatingPointError: the training diverged.
    """
    chosen: Recipe = registry.parse("recipe", recipe)
    for one in attacks:
        registry.parse("attack", one)
    validate.one_of("split", split, ("train", "validation", "test"))
    validate.number("n", n, low=1, whole=True)
    runs.check_keep(keep, chosen.epochs)
    out = Path(out)
    spec = registry.spec(chosen)
    longer = extend and is_of_fewer_epochs(out, spec)
    if longer:
        _check_extension(out, chosen)
    elif _is_finished(out, spec):
        claim_folder(out, spec)
        return _completed(out, chosen)
    loaded = data.load(chosen.data, chosen.validation)
    if not len(loaded.split(split)[0]):
        raise validate.invalid("split", "'train' or 'test' for a recipe with validation=0", split)
    devices = contextlib.nullcontext() if distribute == "none" else backend.on_devices(distribute)
    first = backend.process()[0] == 0
    with contextlib.ExitStack() as held:
        with devices:
            net = runs.build(chosen, loaded)
            if certify is not None:
                certified.check(chosen.defense.predictor(net), certify)
            if first and not longer:
                claim_folder(out, spec)
            if first:
                held.enter_context(files.sole_use(out))
            begun = [_Reclaim(out, spec)] if first and longer else []
            kept = KeepEpochs(out / EPOCHS, keep)
            served, history, seconds = runs.fit(net, chosen, loaded, out, kept, [*begun, *callbacks], verbose)
        if not first:
            return _awaited(out, spec)
        runs.write(served, out, half)
        pictures.curves(history.rows, out / "curves.png")
        export(out / "model.keras", out / "saved_model" / "1")
        x, y = (np.asarray(part[:n]) for part in loaded.split(split))
        source = {"name": loaded.name, "split": split, "shape": list(loaded.shape), "classes": loaded.classes}
        card = _measure(
            chosen,
            out,
            x,
            y,
            attacks,
            certify=certify,
            source=source,
            seconds=round(seconds, 1),
            verbose=verbose != 0,
        )
        card = _with_training(card, out, chosen, loaded, history.rows)
        card.save(out)
    return card


def _with_training(
    card: ModelCard, out: Path, recipe: Recipe, loaded: data.Data, rows: Sequence[dict[str, float]]
) -> ModelCard:
    """The card with what the training took and its curve, by the rows of its history."""
    net = zoo.open(out)
    flop = training_flop(recipe, net, loaded.train[1], len(rows))
    about = {"flop": flop, "forward_flop": forward_flop(net), "epochs": len(rows)}
    return dataclasses.replace(card, training={**about, "curve": thinned(rows, CURVE)})


def _completed(out: Path, recipe: Recipe) -> ModelCard:
    """The card of a finished run, which one of an earlier version becomes."""
    card, file = ModelCard.read(out), out / "history.csv"
    if card.training is None and file.is_file() and (rows := rows_of(file)):
        card = _with_training(card, out, recipe, data.load(recipe.data, recipe.validation), rows)
        card.save(out)
    return card


class _Reclaim(keras.callbacks.Callback):
    """Makes a folder that of the longer recipe as the first step begins: until then nothing of it changes."""

    def __init__(self, out: Path, spec: str) -> None:
        super().__init__()
        self.out, self.claim = out, spec

    def on_train_begin(self, logs: Any = None) -> None:
        reclaim_folder(self.out, self.claim)


def _is_finished(out: Path, spec: str) -> bool:
    """Whether there is a card, and not that of fewer epochs, of a run that is being extended."""
    return (out / "card.json").is_file() and not is_shorter(ModelCard.read(out).recipe, spec)


def _awaited(out: Path, spec: str) -> ModelCard:
    """The card that the first of several processes writes.

    Raises:
        RuntimeError: it has ended without one.
    """
    while not _is_finished(out, spec):
        time.sleep(1)
        with contextlib.suppress(validate.InvalidInput), files.sole_use(out):
            if not _is_finished(out, spec):
                raise RuntimeError(f"The first process has ended without writing {out / 'card.json'}.")
    return ModelCard.read(out)


def _check_extension(out: Path, recipe: Recipe) -> None:
    """Raises InvalidInput unless a run of fewer epochs can go on."""
    if depends_on_length(recipe.defense.phases(recipe.epochs), recipe.average):
        allowed = "a recipe without an average and without a schedule of the rate, to extend a run"
        raise validate.unusable("recipe", allowed, registry.spec(recipe))
    if (out / "card.json").is_file() and not Checkpoint(out / "backup").latest()[0]:
        raise validate.unusable("out", "a folder that still has its backup/, to extend it", str(out))


def _measure(
    recipe: Recipe,
    out: Path,
    x: np.ndarray,
    y: np.ndarray,
    attacks: Sequence[Attack | str],
    *,
    certify: Threat | str | None,
    source: dict[str, Any],
    seconds: float,
    verbose: bool,
) -> ModelCard:
    """The card of out/model.keras, and the pictures of some of its adversarial images."""
    file = out / "model.keras"
    model, ball = artifact.read(file), audited_threat(attacks, recipe.defense.trained_threat)
    probe = artifact.probe(model)
    kept = out / "records.npz"
    results = evaluate(model, x, y, attacks, verbose=verbose, certify=certify, records=kept)
    _picture(kept)
    return ModelCard(
        name=recipe.title,
        recipe=registry.spec(recipe, full=True),
        data=source,
        results=results,
        audit=audit(model, x, y, n=AUDIT_OF, threat=ball),
        audited={"threat": registry.spec(ball), "n": min(AUDIT_OF, len(x))},
        sha256=sha256(file),
        parameters=model.count_params(),
        bytes=file.stat().st_size,
        probe=probe,
        versions=environment.versions(),
        seconds=seconds,
        reported=dict(recipe.defense.reported),
        reference=recipe.defense.reference,
    )


def _picture(kept: Path) -> None:
    pictures.examples(records.load(kept), kept.with_name("examples.png"))
