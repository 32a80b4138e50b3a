"""`defend`: trains any Keras classifier with any defense."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import in_float32
from keras_adv.attacks import Attack
from keras_adv.averaging import EMA
from keras_adv.backend import device_count, sharing
from keras_adv.classifier import as_functional, check_logits, check_model
from keras_adv.data.augmenting import AUGMENTS
from keras_adv.defenses import Defense
from keras_adv.engine import Run
from keras_adv.evaluation.image_set import logits_of
from keras_adv.feeding import Given, held_out
from keras_adv.fingerprint import fingerprint
from keras_adv.growth import Grow
from keras_adv.optimizers import ready
from keras_adv.precision import PRECISIONS, computing_in, fitting


@in_float32()
def defend(
    model: keras.Model,
    defense: Defense | str,
    x: Any,
    y: Any = None,
    *,
    epochs: int,
    batch_size: int = 100,
    steps_per_epoch: int | None = None,
    sample_weight: Any = None,
    class_weight: Mapping[int, float] | None = None,
    validation_data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = None,
    optimizer: keras.optimizers.Optimizer | str | None = None,
    augment: str = "none",
    precision: str = "float32",
    average: EMA | str | None = None,
    best: Attack | str | None = None,
    grow: Grow | str | None = None,
    seed: int = 0,
    verbose: int | str = "auto",
) -> keras.Model:
    """Trains `model` in place with a defense, and returns what is to be served.

    It does what Keras' `fit` does, with another training step. In the logs, and so for callbacks: `loss`, all
    that the classifier lowers in a step; `accuracy` of the images that it is trained on, clean ones where the
    defense passes any; each term of the defense; `val_loss` (clean cross-entropy) and `val_accuracy`.
    Callbacks that save the model (`keras.callbacks.ModelCheckpoint`) save what is returned here, as it then
    is. The history of Keras is `history` of the returned model, and what the given model was compiled with
    stays.

    Args:
        model: Keras model, functional, Sequential or subclassed, images (B, H, W, C) in [0, 1] -> logits
            (B, K). Trained weights are a start like any other, so this also fine-tunes. Defenses that look at
            features take the input of the last Dense layer, or the output of a layer named "features". A
            model made in the scope of a `tf.distribute` strategy or of a `keras.distribution` is trained on
            several devices: a step is that of one device with the same batch, with batch normalisation and
            random starts, up to rounding (on TensorFlow dropout and the critic's noise draw for each device's
            share, over which the variance of `mad` is taken too).
        defense: a defense or its spec, "critic(weight=0.5)".
        x: images (N, H, W, C) in [0, 1], an array or the `ImageFiles` of a folder; or batches (images,
            labels) or (images, labels, weights) from a tf.data.Dataset, a keras.utils.PyDataset or a
            generator, in their own order and augmentation.
        y: integer labels (N,); None with batches.
        epochs: passes over the data.
        batch_size: images a step; images that fill no whole batch are left out, others in each epoch.
        steps_per_epoch: steps that count as an epoch; None: all there are. Needed for data that do not say
            how many batches they have: generators, and datasets without an end or of unknown length.
        sample_weight: (N,) what the terms of an image are multiplied by.
        class_weight: class -> what the terms of its images are multiplied by; 1 where it names none.
        validation_data: (images, labels), with weights or not, or a dataset, for clean loss and accuracy
            after each epoch.
        callbacks: Keras callbacks, or one; a `keras_adv.callbacks.Checkpoint` among them makes the run
            resumable.
        optimizer: in place of the defense's own for the classifier: a Keras optimizer, its name, or a spec,
            "sgd(learning_rate=0.1, schedule=cosine())". None: the defense's.
        augment: "none", "crop_flip" (padded by 4), "crop_flip_cutout" (and a square of half the side made
            grey), "resized_crop_flip" (crops of random size, of images on disk alone), "crop2" (padded by 2)
            or "crop2_flip".
        precision: what the layers compute in while they are trained: "float32" (as the model itself says),
            "mixed_bfloat16", "mixed_float16" or "auto" (see `keras_adv.precision`). Weights stay in float32,
            and what is returned computes as the given model did.
        average: "ema(decay=0.998, start=0.6)" serves the average of the weights of the last steps; None
            serves the last weights.
        best: an attack, "pgd(threat=linf(eps=8/255), steps=10)": the weights of the epoch that withstands it
            best are served, measured on the first 1,000 of `validation_data` (`val_robust_accuracy` in the
            logs; of the average, once there is one). None serves the last.
        grow: "grow(sides=(16, 24), until=(4, 8))" trains on smaller images first; None: never.
        seed: of the order, the augmentation and the random starts.
        verbose: 0 silent, 1 a progress bar, 2 a line an epoch, and one every minute; "auto": 1 on a terminal,
            else 2.

    Returns: The model to serve, a plain Keras model: `model` itself, or for mat() and mmc() its layers under
        another head.

    Raises:
        InvalidInput: bad images, labels or model, before training starts.
        FloatingPointError: the training diverged.

    >>> import keras, keras_adv
    >>> x, y = (part[:200] for part in keras_adv.data.load("digits").train)
    >>> layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    >>> served = keras_adv.defend(keras.Sequential(layers), "trades(weight=3.0)", x, y, epochs=1, verbose=0)
    >>> sorted(served.history.history)
    ['accuracy', 'cross_entropy', 'kl', 'loss']
    """
    chosen: Defense = registry.parse("defense", defense)
    validate.number("epochs", epochs, low=1, whole=True)
    validate.number("batch_size", batch_size, low=1, whole=True)
    if steps_per_epoch is not None:
        validate.number("steps_per_epoch", steps_per_epoch, low=1, whole=True)
    validate.one_of("augment", augment, AUGMENTS)
    validate.one_of("precision", precision, PRECISIONS)
    averaging: EMA | None = None if average is None else registry.parse("average", average)
    chooser: Attack | None = None if best is None else registry.parse("attack", best)
    growing: Grow | None = None if grow is None else registry.parse("growth", grow)
    validate.seed(seed)
    data = Given(x, y, sample_weight, class_weight, batch_size, steps_per_epoch)
    shape, classes = check_model(model, data.images)
    if (rows := data.batch_rows) % (devices := device_count(model)):
        raise validate.invalid("batch_size", f"a multiple of the {devices} devices that share it", rows)
    if chosen.remembers and devices > 1:
        raise validate.unusable(
            "defense", "one that keeps nothing of each image, on several devices", chosen.name
        )
    held = held_out(validation_data, shape, classes)
    other = None if optimizer is None else ready(optimizer)
    check_logits(logits_of(model, validate.images(data.images[:100], shape=shape), batch_size=100))
    if not model.trainable_variables:
        raise validate.unusable("model", "one with weights to train", f"{model.name}, which has none")
    validate.one_of("verbose", verbose, (0, 1, 2, "auto"))
    given = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else [*(callbacks or ())]
    _check_callbacks(given)
    if chooser:
        _check_choice(chooser, model, held)
    settings = {"batch_size": batch_size, "augment": augment, "seed": seed}
    if (computes := fitting(precision)) != "float32":
        settings["precision"] = computes
    if averaging:
        settings["average"] = registry.spec(averaging, full=True)
    if other:
        settings["optimizer"] = other.identity
    if chooser:
        settings["best"] = f"{registry.spec(chooser, full=True)} on {fingerprint(*_told(held))}"
    if growing:
        settings["grow"] = registry.spec(growing, full=True)
    with sharing(model):
        wrapped = as_functional(model, shape)
        served = chosen.predictor(wrapped)
        result = model if served is wrapped else served
        if growing:
            _check_growth(growing, chosen, served, shape)
        feed = data.checked(chosen, served, shape, seed, augment)
        run = Run(chosen, feed, epochs, settings | {"steps": feed.steps}, averaging, other, chooser, growing)
        with computing_in(served, computes) as resting:
            game = run.game(served, seed)
            game.at_rest = functools.partial(_at_rest, resting, result)
            run.play(game, held, given, verbose)
    result.history = getattr(game, "history", None) or keras.callbacks.History()
    return result


def _check_choice(best: Attack, model: keras.Model, held_out: Any) -> None:
    """Raises InvalidInput where the attack cannot choose an epoch by these data."""
    if best.contract != "bounded" or best.guided:
        raise validate.unusable("best", "a bounded attack without guides", best.name)
    if not isinstance(held_out, tuple) or len(held_out) != 2:
        allowed = "(images, labels) without weights, by which the best epoch is chosen"
        raise validate.unusable("validation_data", allowed, type(held_out).__name__)
    images, labels = (np.asarray(part[:2]) for part in held_out)
    best(model, images, labels)  # what the model cannot take is told now


def _check_growth(grow: Grow, defense: Defense, model: keras.Model, shape: tuple[int, ...]) -> None:
    """Raises InvalidInput where images cannot be small at first."""
    if defense.remembers:
        raise validate.unusable(
            "grow", f"None with {defense.name}, which keeps something of each image", "one"
        )
    for name, player in {"net": model, **defense.networks(model)}.items():
        if name == "net" or getattr(player, "input_shape", (0,))[1:] == shape:
            grow.check_model(player, shape, name)


def _told(held: Any) -> list[Any]:
    """What a fingerprint of held-out data is made of."""
    return [getattr(part, "identity", part) for part in held]


@contextlib.contextmanager
def _at_rest(resting: Callable[[], Any], model: keras.Model) -> Iterator[keras.Model]:
    """The model that is returned in the end, as it then computes."""
    with resting():
        yield model


def _check_callbacks(callbacks: Sequence[Any]) -> None:
    """Raises InvalidInput for what is no callback, or would keep less than a run needs."""
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise validate.invalid("callbacks", "Keras callbacks", type(callback).__name__)
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            why = "a keras_adv.callbacks.Checkpoint, which also keeps optimizers and the networks beside"
            raise validate.unusable("callbacks", why, "BackupAndRestore")
