"""The training of a recipe in its run folder: the net, its fit, and the file of what is served."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import keras

from keras_adv import artifact, backend, data, files, registry, validate, zoo
from keras_adv.callbacks import Checkpoint, History, KeepEpochs
from keras_adv.evaluation.along import EPOCHS, kept_epochs
from keras_adv.fit import defend
from keras_adv.models import normalizer
from keras_adv.recipes import Recipe
from keras_adv.run_folder import claim_folder


def trained(
    recipe: Recipe | str, out: str | Path, *, keep: Collection[int] = (), verbose: int | str = 0
) -> Path:
    """Only the training of `train`: the file of the served model, in a run folder that `train` goes on from.

    Args:
        recipe: a recipe or its spec.
        out: run folder: new, empty, or of the same recipe; one that is finished is left as it is.
        keep: as in `train`.
        verbose: as in `keras_adv.defend`.

    Raises:
        InvalidInput: bad recipe, data or folder, or one that another process trains in.
        FloatingPointError: the training diverged.
    """
    chosen: Recipe = registry.parse("recipe", recipe)
    check_keep(keep, chosen.epochs)
    out, spec = Path(out), registry.spec(chosen)
    claim_folder(out, spec)
    if not (file := out / "model.keras").is_file():
        loaded, kept = data.load(chosen.data, chosen.validation), KeepEpochs(out / EPOCHS, keep)
        with files.sole_use(out):
            served, _, _ = fit(build(chosen, loaded), chosen, loaded, out, kept, (), verbose)
            write(served, out, half=False)
    if lost := set(keep) - ({*kept_epochs(out)} if keep else set()):
        raise validate.unusable("keep", "epochs that the finished run has kept", str(sorted(lost)))
    return file


def check_keep(keep: Collection[int], epochs: int) -> None:
    """Raises InvalidInput unless these are epochs of a training of so many."""
    if not isinstance(keep, Collection) or isinstance(keep, str):
        raise validate.invalid("keep", f"epochs, whole numbers from 1 to {epochs}", keep)
    for epoch in keep:
        validate.number("keep", epoch, low=1, high=epochs, whole=True)


def build(recipe: Recipe, loaded: data.Data) -> keras.Model:
    """The net that training starts from."""
    if recipe.start is not None:
        keras.utils.set_random_seed(recipe.seed)  # for what a defense adds to the net
        return zoo.open(recipe.start)
    before = None if recipe.normalize == "none" else normalizer(recipe.normalize, loaded.sample())
    design = recipe.defense.adapt_model(recipe.model)
    return design.build(loaded.shape, loaded.classes, seed=recipe.seed, normalizer=before)


def fit(
    net: keras.Model,
    recipe: Recipe,
    loaded: data.Data,
    out: Path,
    kept: KeepEpochs,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int | str,
) -> tuple[keras.Model, History, float]:
    """Trains. Returns the model to serve, the history, and the seconds of training, with those of earlier
    interrupted calls."""
    started = time.perf_counter()
    history = History(out / "history.csv")
    checkpoint = Checkpoint(out / "backup", history)
    served = defend(
        net,
        recipe.defense,
        *loaded.train,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        validation_data=loaded.validation if len(loaded.validation[0]) else None,
        callbacks=[history, *_tensorboard(out), kept, checkpoint, *callbacks],
        augment=recipe.augment,
        precision=recipe.precision,
        average=recipe.average,
        best=recipe.best,
        grow=recipe.grow,
        seed=recipe.seed,
        verbose=0 if backend.process()[0] else verbose,
    )
    return served, history, history.earlier + time.perf_counter() - started


def _tensorboard(out: Path) -> list[keras.callbacks.Callback]:
    first = backend.process()[0] == 0
    return [keras.callbacks.TensorBoard(str(out / "tensorboard"), write_graph=False)] if first else []


def write(served: keras.Model, out: Path, half: bool) -> None:
    """Writes model.keras; the card of the one before goes only when the new one is whole."""
    new = out / "new.keras"
    artifact.write(served, new, half)
    (out / "card.json").unlink(missing_ok=True)
    os.replace(new, out / "model.keras")
