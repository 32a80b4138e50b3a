"""`defend` does as Keras' `fit` does: callbacks, optimizers, compiled models, any kind of model."""

import csv
import signal
import sys

import keras
import numpy as np
import pytest
from sampled import sampled

import keras_adv
from keras_adv import InvalidInput
from keras_adv.callbacks import Checkpoint
from keras_adv.models import MLP

SHAPE, CLASSES = (4, 4, 1), 3
RNG = np.random.default_rng(0)
X, Y = RNG.random((60, *SHAPE)).astype("float32"), (np.arange(60) % CLASSES).astype("int32")
DEFENSE = "standard()"


def small():
    return MLP(units=(8,)).build(SHAPE, CLASSES)


def trained(model, defense=DEFENSE, **options):
    options = {"epochs": 3, "batch_size": 20, "verbose": 0, **options}
    return keras_adv.defend(model, defense, X, Y, **options)


def test_checkpoints_of_keras_hold_the_users_model(tmp_path):
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "whole.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "only.weights.h5", save_weights_only=True),
    ]
    served = trained(small(), callbacks=callbacks, precision="mixed_bfloat16")
    loaded = keras.models.load_model(tmp_path / "whole.keras", compile=False)
    other = small()
    other.load_weights(tmp_path / "only.weights.h5")
    assert loaded.name == served.name and {n.compute_dtype for n in loaded.layers} == {"float32"}
    for one in (loaded, other):
        for ours, theirs in zip(one.get_weights(), served.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("monitor", sampled(["loss", "val_accuracy"], "val_accuracy"))
def test_early_stopping_stops_and_gives_the_best_weights_back(monitor):
    stop = keras.callbacks.EarlyStopping(monitor, patience=1, min_delta=10.0, restore_best_weights=True)
    kept = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.append(stop.model.predictor.get_weights())
    )
    served = trained(small(), callbacks=[keep, stop], validation_data=(X, Y), epochs=9)
    assert len(kept) == 2  # the second epoch was no better by ten
    for ours, theirs in zip(served.get_weights(), kept[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_log_and_the_history_have_loss_and_accuracy(tmp_path):
    log = tmp_path / "log.csv"
    options = {"callbacks": [keras.callbacks.CSVLogger(log)], "validation_data": (X, Y), "batch_size": 60}
    served = trained(small(), **options)
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {"loss", "accuracy", "cross_entropy", "val_loss", "val_accuracy"}
    assert set(rows[0]) == {"epoch", *names} and set(served.history.history) == names
    # of one batch: what an epoch logs is what the validation of the epoch before saw
    assert float(rows[1]["loss"]) == pytest.approx(float(rows[0]["val_loss"]), rel=1e-5)
    assert float(rows[1]["accuracy"]) == pytest.approx(float(rows[0]["val_accuracy"]))


@pytest.mark.parametrize("given", ["instance", "rmsprop", "sgd(learning_rate=0.05)"])
def test_another_optimizer_may_be_given(given):
    optimizer = keras.optimizers.SGD(0.05) if given == "instance" else given
    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: seen.append(watch.model.optimizer))
    trained(small(), callbacks=[watch], optimizer=optimizer)
    assert type(seen[0]).__name__ in ("SGD", "RMSprop") and int(seen[0].iterations) == 9


def test_what_the_model_was_compiled_with_stays():
    model = small()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(X, Y, verbose=0)
    optimizer, steps = model.optimizer, int(model.optimizer.iterations)
    assert trained(model) is model and model.optimizer is optimizer
    after = model.evaluate(X, Y, verbose=0, return_dict=True)["accuracy"]
    assert after == pytest.approx((model.predict(X, verbose=0).argmax(1) == Y).mean())
    model.fit(X, Y, verbose=0)
    assert int(optimizer.iterations) == 2 * steps


def test_backups_of_keras_keep_too_little_and_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"keras_adv\.callbacks\.Checkpoint"):
        trained(small(), callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(CLASSES)  # made first, called last
        self.flat, self.hidden = keras.layers.Flatten(), keras.layers.Dense(8, activation="tanh")

    def call(self, x, training=False):
        return self.head(self.hidden(self.flat(x)))


class HeadLast(Subclassed):
    def __init__(self):
        keras.Model.__init__(self)
        self.flat, self.hidden = keras.layers.Flatten(), keras.layers.Dense(8, activation="tanh")
        self.head = keras.layers.Dense(CLASSES)


def sequential():
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "tanh"), keras.layers.Dense(CLASSES)]
    return keras.Sequential([keras.Input(SHAPE), *layers])


def nested():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, sequential()(inputs))


ON_FEATURES = {
    "mat(attack=pgd(threat=linf(eps=0.05), steps=1, loss='cosine_distance'), dim=4)": 4,
    "mmc(dim=None)": 8,
    "afd(attack=fgsm())": 8,
    "mad(jacobian_of='embedding')": 8,
}
"""Defenses that look at the features, and how wide these then are."""


MADE = [(one, make) for one in ON_FEATURES for make in (Subclassed, sequential, nested)]


@pytest.mark.parametrize(("defense", "make"), sampled(MADE, MADE[0]))
def test_the_input_of_the_last_dense_layer_is_the_features_of_any_model(defense, make):
    model = make()
    before = [np.array(w) for w in model.get_weights()]
    served = trained(model, defense, epochs=1)
    features = keras_adv.backend.FrozenNet(served).features(X[:5])
    assert features.shape == (5, ON_FEATURES[defense])
    assert served.predict(X[:5], verbose=0).shape == (5, CLASSES)
    if before:  # trained in place
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("make", [sequential, nested, Subclassed, HeadLast])
def test_the_head_behind_the_features_is_not_the_encoders(make):
    net = keras_adv.classifier.as_functional(make(), SHAPE)
    encoder = keras_adv.features.encoder(net)
    assert sorted(tuple(v.shape) for v in encoder.trainable_variables) == [(8,), (16, 8)]
    assert encoder(X[:5]).shape == (5, 8)
    with keras_adv.precision.computing_in(net, "mixed_bfloat16"):
        half = {n.compute_dtype for n in net._flatten_layers() if isinstance(n, keras.layers.Dense)}
        assert (
            half == {"bfloat16", "float32"} and keras.backend.standardize_dtype(net(X[:5]).dtype) == "float32"
        )


@pytest.mark.slow
def test_afd_moves_what_is_before_the_features_by_its_encoders_move():
    model = HeadLast()
    net = keras_adv.classifier.as_functional(model, SHAPE)
    game = keras_adv.backend.Game(net, keras_adv.registry.parse("defense", "afd(attack=fgsm())"))
    moves = game.defense.moves()
    game.compile_moves(moves, 3, 1)
    game.play_only(moves[-1:])
    before = [np.array(v) for v in (model.hidden.kernel, model.head.kernel)]
    game.fit(X, Y, batch_size=20, verbose=0)
    assert (np.array(model.hidden.kernel) != before[0]).any()
    np.testing.assert_array_equal(model.head.kernel, before[1])


def test_an_optimizer_that_has_been_used_is_refused():
    optimizer = keras.optimizers.SGD(0.05)
    trained(small(), epochs=1, optimizer=optimizer)
    with pytest.raises(InvalidInput, match="`optimizer` must be a new one"):
        trained(small(), epochs=1, optimizer=optimizer)


def test_a_loss_that_is_scaled_already_is_not_scaled_twice():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05))
    served = trained(small(), epochs=8, optimizer=optimizer, precision="mixed_float16")
    assert served.history.history["loss"][-1] < served.history.history["loss"][0]


def test_callbacks_may_be_one_alone():
    notes = keras.callbacks.History()
    assert trained(small(), epochs=1, callbacks=notes).history.history == notes.history


class Signal(keras.callbacks.Callback):
    """A signal to this process in the second epoch, before its second step; a note after each step."""

    def __init__(self, number):
        super().__init__()
        self.number, self.steps = number, []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (1, 1):
            signal.raise_signal(self.number)

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append((self.epoch, batch))


SIGNALS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "raised"), SIGNALS)
def test_a_signal_lets_the_step_end_and_the_run_goes_on_later(number, raised, tmp_path):
    before, stop = signal.getsignal(number), Signal(number)
    with pytest.raises(raised) as ended:
        trained(small(), callbacks=[Checkpoint(tmp_path), stop])
    assert stop.steps == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert number == signal.SIGINT or ended.value.code == 143
    assert signal.getsignal(number) is before
    again, whole = trained(small(), callbacks=[Checkpoint(tmp_path)]), trained(small())
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_progress_is_told_in_lines_where_no_bar_is_drawn(capsys, monkeypatch):
    monkeypatch.setattr(keras_adv.callbacks.progress, "EVERY", 0.0)
    trained(small(), epochs=1, verbose="auto")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "compiling a training step of standard ..."
    assert any(line.startswith("epoch 1/1: step 2 of 3, 0:00:0") and "loss" in line for line in lines)


def test_training_takes_callbacks_and_all_images(tmp_path, monkeypatch):
    for name, instead in (("export", None), ("audit", [])):  # slow, and not what is looked at here
        monkeypatch.setattr(
            sys.modules["keras_adv.training"], name, lambda *_, instead=instead, **__: instead
        )
    seen = keras.callbacks.History()
    recipe = "recipe(defense=standard(), model=mlp(units=(8,)), epochs=1, batch_size=100, validation=0)"
    keras_adv.train(recipe, tmp_path / "run", attacks=["fgsm()"], n=8, callbacks=[seen], verbose=0)
    assert set(seen.history) == {"loss", "accuracy", "cross_entropy"} and seen.params["steps"] == 14
    with pytest.raises(InvalidInput, match="`split` must be"):
        keras_adv.train(recipe, tmp_path / "other", split="validation")
    with pytest.raises(InvalidInput, match="`validation` must be above 0"):
        keras_adv.search(recipe, tmp_path / "search")
