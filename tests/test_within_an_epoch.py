"""A training that ends within an epoch goes on from that step, to the same weights and the same history."""

import csv
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from sampled import sampled

import keras_adv
from keras_adv.callbacks import Checkpoint, History
from keras_adv.models import MLP

RNG = np.random.default_rng(0)
X, Y = RNG.random((60, 4, 4, 1)).astype("float32"), (np.arange(60) % 3).astype("int32")
CASES = {
    "trades": {"average": "ema(start=0.2)"},
    "critic(width=16, attack=high_confidence(steps=1))": {},
    "dropout": {"augment": "crop_flip"},
    "awp(warmup=1, inner=adversarial(attack=fgsm(threat=linf(eps=0.1))))": {},
}


LAST = 5
"""The last step of an epoch: what follows it has not been done."""


class End(Exception):
    """Of a process, say."""


class EndAt(keras.callbacks.Callback):
    """Raises after a step of an epoch, both from 0."""

    def __init__(self, epoch, step):
        super().__init__()
        self.point, self.steps = (epoch, step), []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append((self.epoch, batch))
        if (self.epoch, batch) == self.point:
            raise End


def net(spec):
    return keras_adv.registry.parse("defense", spec).adapt_model(MLP(units=(24,))).build((4, 4, 1), 3)


def run(spec, *callbacks, data=(X, Y), **options):
    options = {"epochs": 3, "batch_size": 10, "verbose": 0, "validation_data": (X, Y), **options}
    model = keras_adv.defend(net(spec), spec, *data, callbacks=callbacks, **options)
    return model.get_weights()


def rows(path):
    with path.open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def saving(folder, every=0.0):
    history = History(folder / "history.csv")
    return history, Checkpoint(folder / "backup", history, every)


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "step"),
    sampled([("trades", 2), ("standard", LAST), *((spec, 2) for spec in [*CASES][1:])], ("standard", LAST)),
)
def test_the_rest_of_an_epoch_is_the_same(spec, step, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    weights = run(spec, *saving(whole, every=1e9), **CASES.get(spec, {}))
    with pytest.raises(End):
        run(spec, *saving(broken), EndAt(1, step), **CASES.get(spec, {}))
    assert [p.name for p in (broken / "backup").glob("*.h5")] == [
        f"epoch-0001.step-{step + 1:06d}.weights.h5"
    ]
    assert len(rows(broken / "history.csv")) == 1
    same(run(spec, *saving(broken), **CASES.get(spec, {})), weights)
    for one, other in zip(rows(broken / "history.csv"), rows(whole / "history.csv"), strict=True):
        assert one.keys() == other.keys()
        ours, theirs = ([float(v or "nan") for v in row.values()] for row in (one, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_callbacks_see_every_step_of_the_epoch(tmp_path):
    tmp_path.joinpath("run").mkdir()
    with pytest.raises(End):
        run("standard", *saving(tmp_path / "run"), EndAt(0, 3))
    seen = EndAt(9, 9)
    run("standard", *saving(tmp_path / "run"), seen)
    assert seen.steps == [(epoch, step) for epoch in range(3) for step in range(6)]


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[index * 10 : index * 10 + 10], Y[index * 10 : index * 10 + 10]


def generator():
    while True:
        yield from Sequence()


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(10), id="tf.data"),
        pytest.param(Sequence, id="PyDataset"),
        pytest.param(generator, id="generator"),
    ],
)
def test_streams_go_on_where_they_were(made, tmp_path):
    spec, options = "fast", {"steps_per_epoch": 6, "epochs": 2}
    weights = run(spec, data=(made(),), **options)
    with pytest.raises(End):
        run(spec, *saving(tmp_path), EndAt(0, 3), data=(made(),), **options)
    same(run(spec, *saving(tmp_path), data=(made(),), **options), weights)


class Signal(EndAt):
    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.point:
            signal.raise_signal(signal.SIGTERM)

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append((self.epoch, batch))


@pytest.mark.slow
def test_a_signal_saves_its_step(tmp_path):
    with pytest.raises(SystemExit):
        run("standard", Checkpoint(tmp_path), Signal(1, 2))
    assert {p.name for p in tmp_path.iterdir()} == {
        f"epoch-0001.step-000003.{ending}" for ending in ("json", "weights.h5")
    }
    again = Signal(1, 1)  # before the steps of the first call have passed: there is nothing new to save
    with pytest.raises(SystemExit):
        run("standard", Checkpoint(tmp_path), again)
    assert again.steps == [(1, 0), (1, 1)]
    assert [p.name for p in tmp_path.glob("*.h5")] == ["epoch-0001.step-000003.weights.h5"]
    same(run("standard", Checkpoint(tmp_path)), run("standard"))


class Spoil(keras.callbacks.Callback):
    """NaN into the weights after a step of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, 2):
            bad = [np.full_like(w, np.nan) for w in self.model.get_weights()]
            getattr(self.model, "jax_state_sync", lambda: None)()
            self.model.set_weights(bad)


def test_what_has_diverged_is_not_saved(tmp_path):
    with pytest.raises(FloatingPointError):
        run("standard", Spoil(), Checkpoint(tmp_path, every=0.0))
    assert [p.name for p in tmp_path.glob("*.h5")] == ["epoch-0001.step-000002.weights.h5"]


@pytest.mark.slow
def test_a_checkpoint_ahead_of_the_epochs_asked_for_is_refused(tmp_path):
    with pytest.raises(End):
        run("standard", Checkpoint(tmp_path, every=0.0), EndAt(2, 1))
    with pytest.raises(keras_adv.InvalidInput, match="ahead of the 2 epochs"):
        run("standard", Checkpoint(tmp_path), epochs=2)


@pytest.mark.slow
def test_the_seconds_of_both_calls_count(tmp_path):
    with pytest.raises(End):
        run("standard", *saving(tmp_path), EndAt(0, 3))
    history, checkpoint = saving(tmp_path)
    held = next((tmp_path / "backup").glob("*.json"))
    text = held.read_text()
    seconds = text[text.index('"seconds": ') :]
    held.write_text(text.replace(seconds, '"seconds": 1000.0}\n'))
    run("standard", history, checkpoint)
    assert 1000 < history.rows[0]["seconds"] < 1100 and history.earlier == 1000 > history.rows[1]["seconds"]


def test_a_renamed_file_is_refused(tmp_path):
    with pytest.raises(End):
        run("standard", Checkpoint(tmp_path, every=0.0), EndAt(1, 2))
    for file in tmp_path.iterdir():
        file.rename(file.with_name(file.name.replace("step-000003", "step-000005")))
    with pytest.raises(keras_adv.InvalidInput, match="damaged or renamed"):
        run("standard", Checkpoint(tmp_path))


@pytest.mark.slow
def test_of_two_checkpoints_the_furthest_counts(tmp_path):
    with pytest.raises(End):
        run("standard", Checkpoint(tmp_path / "one", every=0.0), EndAt(1, 2))
    seen = EndAt(9, 9)
    weights = run("standard", Checkpoint(tmp_path / "one"), Checkpoint(tmp_path / "new"), seen)
    assert seen.steps[0] == (1, 0)
    same(weights, run("standard"))


def test_what_a_kill_left_is_cleared(tmp_path):
    (tmp_path / "epoch-0000.step-000002.json").write_text("{}")
    (tmp_path / "notes.json").write_text("{}")
    run("standard", Checkpoint(tmp_path), epochs=1)
    assert {p.name for p in tmp_path.glob("*.json")} == {"epoch-0001.json", "notes.json"}


@pytest.mark.skipif(keras.config.backend() != "jax", reason="only JAX carries the state beside the variables")
def test_a_checkpoint_costs_no_synchronisation_a_step(tmp_path, monkeypatch):
    from keras_adv.backend import Game

    calls, real = [], Game.jax_state_sync
    monkeypatch.setattr(Game, "jax_state_sync", lambda self: calls.append(0) or real(self))
    run("standard", epochs=1)
    without = len(calls)
    run("standard", Checkpoint(tmp_path), epochs=1)
    assert len(calls) - 2 * without <= 3  # where it saves
