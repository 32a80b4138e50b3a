"""What was cut short goes on as if it had not been."""

import csv
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import artifact, models, registry, zoo
from keras_adv.callbacks import Checkpoint, History
from tests.bad_input.tools import classifier

EXACT = keras.config.backend() == "tensorflow"
TRAIN = sys.modules["keras_adv.training"]  # the module; the package's `train` is the function

RUN = """
import os, signal, sys
import keras
import keras_adv

class Watch(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        print("epoch", epoch, flush=True)

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (3, 5):
            os.kill(os.getpid(), signal.SIGKILL)

fit = keras.Model.fit
keras.Model.fit = lambda self, *a, callbacks=(), **k: fit(self, *a, callbacks=[*callbacks, Watch()], **k)
keras_adv.train(*sys.argv[1:], verbose=0)
"""
CUT = (
    "recipe(defense=dropout(optimizer=adam(schedule=drop(every=2))), model=mlp(units=(16,)), "
    "epochs=6, augment='crop_flip', normalize=True, seed=3)"
)


def killed(out):
    """(exit code, epochs begun) of a process that trains CUT and is killed in its fourth epoch."""
    env = {**os.environ, "KERAS_BACKEND": keras.config.backend(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", RUN, CUT, str(out)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, [int(line.split()[1]) for line in done.stdout.splitlines() if "epoch " in line]


def rows(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def timeless(path):
    """history.csv without its second column, the seconds."""
    return [line.split(",")[:1] + line.split(",")[2:] for line in path.read_text().splitlines()]


def enough(*_):
    raise StopIteration


def same_weights(ours, theirs):
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        if EXACT:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(tmp_path, monkeypatch):
    out, whole = tmp_path / "killed", tmp_path / "whole"
    code, begun = killed(out)
    assert code == -signal.SIGKILL and begun == [0, 1, 2, 3]
    assert {p.name for p in (out / "backup").iterdir()} == {"epoch-0003.json", "epoch-0003.weights.h5"}
    assert [row["epoch"] for row in rows(out / "history.csv")] == [0, 1, 2]
    assert not (out / "model.keras").exists() and not (out / "card.json").exists()

    # what a kill at other moments would have left
    (out / "backup" / "part.weights.h5").write_bytes(b"half a checkpoint")
    (out / "backup" / "epoch-0002.weights.h5").write_bytes(b"not yet deleted")
    (out / "part.keras").write_bytes(b"half a model")
    (out / "history.csv.part").write_text("epoch,cross_en")
    with (out / "history.csv").open("a") as file:
        file.write(",".join(["3"] + ["9.5"] * (len(rows(out / "history.csv")[0]) - 1)) + "\r\n")

    begun, fit = [], keras.Model.fit
    watch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))
    with monkeypatch.context() as patched:
        for name, instead in (("export", None), ("audit", [])):  # slow, and not what is looked at here
            patched.setattr(TRAIN, name, lambda *_, instead=instead: instead)
        patched.setattr(
            keras.Model, "fit", lambda *a, callbacks=(), **k: fit(*a, callbacks=[*callbacks, watch], **k)
        )
        keras_adv.train(CUT, out, attacks=["fgsm()"], n=8, verbose=0)
    assert begun == [3, 4, 5]
    assert {p.name for p in out.iterdir()} >= {"model.keras", "card.json", "README.md", "curves.png"}
    assert {p.name for p in (out / "backup").iterdir()} == {"epoch-0006.json", "epoch-0006.weights.h5"}
    assert not list(out.glob("*part*"))
    assert registry.spec(registry.parse("recipe", zoo.verify(out).recipe)) == CUT

    monkeypatch.setattr(TRAIN, "export", enough)  # comes after model.keras
    with pytest.raises(StopIteration):
        keras_adv.train(CUT, whole, verbose=0)
    same_weights(artifact.read(out / "model.keras"), artifact.read(whole / "model.keras"))
    ours, theirs = rows(out / "history.csv"), rows(whole / "history.csv")
    assert [row["epoch"] for row in ours] == [0, 1, 2, 3, 4, 5]
    assert zoo.verify(out).seconds > sum(row.pop("seconds") for row in ours) > 0
    for one, other in zip(ours, theirs, strict=True):
        other.pop("seconds")
        assert one == pytest.approx(other, abs=1e-5)
    if EXACT:
        assert timeless(out / "history.csv") == timeless(whole / "history.csv")


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C as an epoch begins."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def game(digits):
    """Trains a small net whose warm-up ends after the first of three epochs."""
    x, y = (part[:150] for part in digits.train)

    def run(*callbacks):
        net = models.MLP(units=(16,)).build(digits.shape, digits.classes, seed=1)
        defense = "awp(warmup=1, inner=adversarial(attack=fgsm(threat=linf(eps=0.1))))"
        return keras_adv.defend(net, defense, x, y, epochs=3, batch_size=50, callbacks=callbacks, verbose=0)

    return run, run()


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_game_of_two_phases_goes_on_from_the_border_and_from_within(epoch, game, tmp_path):
    run, whole = game
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path), Interrupt(epoch))
    assert Checkpoint(tmp_path).latest()[0] == epoch
    same_weights(run(Checkpoint(tmp_path)), whole)


class Spoil(keras.callbacks.Callback):
    """NaN into the weights as the second epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            net = self.model.predictor
            net.set_weights([np.full_like(w, np.nan) for w in net.get_weights()])


def test_a_run_that_diverges_stops_and_keeps_the_last_finite_epoch(images, tmp_path):
    history = History(tmp_path / "history.csv")
    callbacks = [Spoil(), history, Checkpoint(tmp_path / "backup")]
    with pytest.raises(FloatingPointError, match=r"diverged in epoch 2: cross_entropy.*learning rate"):
        keras_adv.defend(classifier(), "standard()", *images, epochs=3, callbacks=callbacks, verbose=0)
    assert Checkpoint(tmp_path / "backup").latest()[0] == 1
    assert [row["epoch"] for row in rows(tmp_path / "history.csv")] == [0]
