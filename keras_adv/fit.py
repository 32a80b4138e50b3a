"""`defend`: trains any Keras classifier with any defense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.backend import Game
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
    validate.seed(seed)
    held = None if validation_data is None else _held_out(validation_data, shape, classes)
    check_logits(model.predict(x[:100], verbose=0))
    guard = chosen.collapse_guard()
    if not model.trainable_variables:
        raise validate.unusable("model", "one with weights to train", f"{model.name}, which has none")
    game = Game(model, chosen, seed, lambda net: {BEST_WEIGHTS: BestWeights(net)} if guard else {})
    split = chosen.extend_data(game.predictor, x, y)
    batches = Batches(split, batch_size, seed, augment, chosen.batch_rows(split[1]))
    phases = chosen.phases(epochs)
    game.compile_moves(tuple(move for phase in phases for move in phase.moves), len(batches), epochs)
    done = 0
    for checkpoint in (c for c in callbacks if isinstance(c, Checkpoint)):
        settings = {"batch_size": batch_size, "augment": augment, "seed": seed}
        done = checkpoint.restore(game, _identity(game, chosen, epochs, settings, x, y), epochs)
    watch = [StopOnCollapse(guard, game.predictor, x, y)] if guard else []
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
    return game.predictor


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
