"""`defend`: trains any Keras classifier with any defense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.averaging import AVERAGED, EMA
from keras_adv.backend import Game, Net
from keras_adv.callbacks import (
    BEST_WEIGHTS,
    BestWeights,
    Checkpoint,
    EpochOrder,
    PhaseChange,
    StopOnCollapse,
    StopOnNaN,
)
from keras_adv.classifier import check_logits, check_model
from keras_adv.data import AUGMENTS, Batches, Split
from keras_adv.defenses import Defense
from keras_adv.fingerprint import fingerprint
from keras_adv.precision import PRECISIONS, computing_in, fitting


@in_float32()
def defend(
    model: keras.Model,
    defense: Defense | str,
    x: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int = 100,
    validation_data: Split | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    augment: str = "none",
    precision: str = "float32",
    average: EMA | str | None = None,
    seed: int = 0,
    verbose: int = 2,
) -> keras.Model:
    """Trains `model` in place with a defense, and returns what is to be served.

    Args:
        model: built Keras model, images (B, H, W, C) in [0, 1] -> logits (B, K). Trained weights are a
            start like any other, so this also fine-tunes.
        defense: a defense or its spec, "critic(weight=0.5)".
        x: images (N, H, W, C) in [0, 1].
        y: integer labels (N,).
        epochs: passes over the data.
        batch_size: images a step; images that fill no whole batch are left out, others in each epoch.
        validation_data: (images, labels) for clean loss and accuracy after each epoch.
        callbacks: Keras callbacks; a `keras_adv.callbacks.Checkpoint` among them makes the run resumable.
        augment: "none" or "crop_flip".
        precision: what the layers compute in while they are trained: "float32" (as the model itself says),
            "mixed_bfloat16", "mixed_float16" or "auto" (see `keras_adv.precision`). Weights stay in float32,
            and what is returned computes as the given model did.
        average: "ema(decay=0.998, start=0.6)" serves the average of the weights of the last steps; None
            serves the last weights.
        seed: of the order, the augmentation and the random starts.
        verbose: as in `keras.Model.fit`.

    Returns: The model to serve, a plain Keras model: `model` itself, or for mat() and mmc() its layers under
        another head.

    Raises:
        InvalidInput: bad images, labels or model, before training starts.
        FloatingPointError: the training diverged.

    >>> import keras, keras_adv
    >>> x, y = (part[:200] for part in keras_adv.data.load("digits").train)
    >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    >>> served = keras_adv.defend(keras.Sequential(layers), "trades(weight=3.0)", x, y, epochs=1, verbose=0)
    >>> served.output_shape
    (None, 10)
    """
    chosen: Defense = registry.parse("defense", defense)
    shape, classes = check_model(model, x)
    x = validate.images(x, shape=shape)
    y = validate.labels(y, len(x), classes)
    validate.number("epochs", epochs, low=1, whole=True)
    validate.number("batch_size", batch_size, low=1, whole=True)
    validate.one_of("augment", augment, AUGMENTS)
    validate.one_of("precision", precision, PRECISIONS)
    averaging: EMA | None = None if average is None else registry.parse("average", average)
    validate.seed(seed)
    held = None if validation_data is None else _held_out(validation_data, shape, classes)
    check_logits(model.predict(x[:100], verbose=0))
    if not model.trainable_variables:
        raise validate.unusable("model", "one with weights to train", f"{model.name}, which has none")
    served = chosen.predictor(model)
    images, labels = chosen.extend_data(served, x, y)
    batches = Batches((images, labels), batch_size, seed, augment, chosen.batch_rows(labels))
    guard = chosen.collapse_guard()
    watched = {BEST_WEIGHTS: BestWeights(served)} if guard else {}
    if averaging:
        watched[AVERAGED] = averaging.build(served, len(batches) * epochs)
    settings = {"batch_size": batch_size, "augment": augment, "seed": seed}
    if (computes := fitting(precision)) != "float32":
        settings["precision"] = computes
    if averaging:
        settings["average"] = registry.spec(averaging, full=True)
    with computing_in(served, computes):
        game = Game(served, chosen, seed, watched)
        phases = chosen.phases(epochs)
        game.compile_moves(tuple(move for phase in phases for move in phase.moves), len(batches), epochs)
        done = 0
        for checkpoint in (c for c in callbacks if isinstance(c, Checkpoint)):
            done = checkpoint.restore(game, _identity(game, chosen, epochs, settings, x, y), epochs)
        watch = [StopOnCollapse(guard, served, x, y)] if guard else []
        options = {
            "shuffle": False,  # the batches have their own order
            "initial_epoch": done,
            "epochs": epochs,
            "validation_data": held,
            "callbacks": [EpochOrder(batches), PhaseChange(phases), StopOnNaN(), *watch, *callbacks],
            "verbose": verbose,
        }
        if done < epochs:
            _train(game, batches, options)
        if averaging and not (guard and int(watched[BEST_WEIGHTS].collapsed)):
            _serve_average(game, batches)
    return served


def _serve_average(game: Game, batches: Batches) -> None:
    """Puts the average into the net that is served, and has it gather its statistics anew."""
    game.observers[AVERAGED].restore(game.predictor)
    momentum = max((n.momentum for n in Net(game.predictor).normalisations), default=0.0)
    enough = min(len(batches), math.ceil(5 / (1 - momentum))) if momentum < 1 else len(batches)
    batches.set_epoch(0)
    game.gather_statistics(batches[number] for number in range(enough))


def _train(game: Game, batches: Batches, options: dict[str, Any]) -> None:
    try:
        game.fit(batches, **options)
    except LookupError as error:  # TensorFlow names the operation
        if "gradient registry" not in str(error):
            raise
        raise validate.unusable(
            "model",
            f"of operations whose gradient can be differentiated, for {game.defense.name}",
            str(error),
        ) from error


def _held_out(given: Any, shape: tuple[int, ...], classes: int) -> Split:
    """The images and labels of a validation, checked."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise validate.invalid("validation_data", "(images, labels)", type(given).__name__)
    images = validate.images(given[0], "validation_data", shape)
    return images, validate.labels(given[1], len(images), classes, "validation_data")


def _identity(
    game: Game, defense: Defense, epochs: int, settings: dict[str, Any], x: np.ndarray, y: np.ndarray
) -> dict[str, Any]:
    """What a run is, so that a checkpoint of another is refused. Its length counts where a rate depends on
    it."""
    scheduled = any(getattr(move.optimizer, "schedule", None) is not None for move in game.moves)
    return {
        "defense": registry.spec(defense, full=True),
        "network": [list(v.shape) for v in game.predictor.weights],
        "data": fingerprint(x, y),
        **{name: value if isinstance(value, str) else int(value) for name, value in settings.items()},
        **({"epochs": int(epochs)} if scheduled else {}),
    }
