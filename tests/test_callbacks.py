"""Callbacks of a run: what is kept of it, the order of the images, and what stops it."""

import csv

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, fit, registry
from keras_adv.attacks import PGD
from keras_adv.backend import Game
from keras_adv.batches import Batches
from keras_adv.callbacks import (
    BestWeights,
    Checkpoint,
    EpochOrder,
    History,
    StopOnCollapse,
    StopOnNaN,
    rows_of,
    thinned,
)
from keras_adv.defenses.base import CollapseGuard
from keras_adv.defenses.fast import Fast
from keras_adv.models import MLP
from keras_adv.optimizers import SGD
from keras_adv.threats import Linf


def linear_net(classes=3):
    inputs = keras.Input((2, 2, 1))
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Flatten()(inputs)))


def game(classes=3):
    """What a checkpoint saves."""
    return Game(linear_net(classes), registry.parse("defense", "standard"))


def attached(callback, model):
    callback.set_model(model)
    return callback


# -- checkpoints ----------------------------------------------------------------------------------


def test_there_is_no_checkpoint_in_a_folder_that_is_not_there(tmp_path):
    assert Checkpoint(tmp_path / "none").latest() == (0, None)


def test_the_last_epoch_is_kept_and_no_other_file(tmp_path):
    saver = attached(Checkpoint(tmp_path / "run"), game())
    for epoch in range(3):
        saver.on_epoch_end(epoch)
    assert saver.latest() == (3, tmp_path / "run" / "epoch-0003.weights.h5")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "epoch-0003.json",
        "epoch-0003.weights.h5",
    ]
    saver.clear()
    assert not (tmp_path / "run").exists()


def test_only_its_own_files_are_cleared(tmp_path):
    saver = attached(Checkpoint(tmp_path), game())
    saver.on_epoch_end(0)
    (tmp_path / "epoch-mine.weights.h5").write_text("mine")
    saver.clear()
    assert [p.name for p in tmp_path.iterdir()] == ["epoch-mine.weights.h5"]


def test_a_save_that_is_cut_short_leaves_the_epoch_before(tmp_path, monkeypatch):
    trained = game()
    saver = attached(Checkpoint(tmp_path), trained)
    saver.on_epoch_end(0)
    kept = (tmp_path / "epoch-0001.weights.h5").read_bytes()

    def half(path):
        path.write_bytes(kept[: len(kept) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(trained, "save_state", half)
    with pytest.raises(KeyboardInterrupt):
        saver.on_epoch_end(1)
    assert saver.latest() == (1, tmp_path / "epoch-0001.weights.h5")
    assert saver.latest()[1].read_bytes() == kept


def test_of_two_checkpoints_the_later_counts_and_none_that_is_not_whole(tmp_path):
    for epoch in (9999, 10000):  # killed between the renaming and the removal of the one before
        (tmp_path / f"epoch-{epoch:04d}.weights.h5").touch()
    for name in ("part.weights.h5", "epoch-10001.part"):
        (tmp_path / name).touch()
    assert Checkpoint(tmp_path).latest() == (10000, tmp_path / "epoch-10000.weights.h5")


# -- the history ----------------------------------------------------------------------------------


def written(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_phases_may_log_different_terms(tmp_path):
    history = History(tmp_path / "history.csv")
    for epoch, logs in enumerate(({"cross_entropy": 2.0}, {"cross_entropy": 1.0, "real": 0.5})):
        history.on_epoch_begin(epoch)
        history.on_epoch_end(epoch, logs)
    rows = written(tmp_path / "history.csv")
    assert list(rows[0]) == ["epoch", "seconds", "cross_entropy", "real"]
    assert [row["real"] for row in rows] == ["", "0.5"]
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]


def test_a_resumed_history_goes_on_after_the_rows_it_is_given_whatever_the_file_holds(tmp_path):
    (tmp_path / "history.csv").write_text("damaged")
    history = History(tmp_path / "history.csv")
    history.resume([{"epoch": 0, "seconds": 2.0, "warm": 9.0}, {"epoch": 1, "seconds": 0.5, "a": 1.0}])
    assert history.earlier == 2.5
    assert [row["a"] for row in written(tmp_path / "history.csv")] == ["", "1.0"]
    history.on_epoch_begin(2)
    history.on_epoch_end(2, {"a": 7.0})
    assert [row["a"] for row in written(tmp_path / "history.csv")] == ["", "1.0", "7.0"]
    assert history.earlier == 2.5


def test_a_card_keeps_the_ends_the_best_epoch_and_a_few_between(tmp_path):
    history = History(tmp_path / "history.csv")
    robust = [0.1, 0.2, 0.9, 0.3, 0.9, *[0.5] * 35]
    history.resume(
        [
            {"epoch": k, "seconds": 2.0, "loss": 1.0 / 3, "kl": 5.0, "val_robust_accuracy": value}
            for k, value in enumerate(robust)
        ]
    )
    rows = rows_of(tmp_path / "history.csv")
    assert rows == history.rows
    found = thinned(rows, ("loss", "val_accuracy", "val_robust_accuracy"), most=6)
    assert [row["epoch"] for row in found] == [1, 5, 9, 17, 24, 32, 40]  # of two best epochs the last
    assert found[1] == {"epoch": 5, "seconds": 10.0, "loss": 0.33333, "val_robust_accuracy": 0.9}
    assert [row["epoch"] for row in thinned(rows[:3], (), most=6)] == [1, 2, 3]
    assert thinned(rows[:1], ("loss",)) == [{"epoch": 1, "seconds": 2.0, "loss": 0.33333}]
    odd = [{"epoch": 0, "seconds": 1.0, "loss": float("inf")}]
    assert thinned(odd, ("loss",)) == [{"epoch": 1, "seconds": 1.0}]


@pytest.mark.parametrize("text", ["epoch,loss\n0,1\n", "epoch,seconds\na,b\n", "epoch,seconds\nnan,1\n"])
def test_what_is_no_history_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InvalidInput, match=r"`history` must be a history\.csv of a training"):
        rows_of(tmp_path / "history.csv")


# -- the order of the images, and terms that are not finite ---------------------------------------


def test_each_epoch_has_an_order_of_its_own_and_a_resumed_run_the_same():
    split = np.zeros((40, 2, 2, 1), "float32"), np.arange(40)
    orders = []
    for epochs in ((0, 1), (1,)):
        batches = Batches(split, 10, seed=3)
        order = EpochOrder(batches)
        for epoch in epochs:
            order.on_epoch_begin(epoch)
            orders.append(np.concatenate([batches[step][1] for step in range(4)]))
    first, second, resumed = orders
    assert sorted(first) == sorted(second) == list(range(40))
    assert (first != second).any()
    np.testing.assert_array_equal(second, resumed)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_term_that_is_not_finite_ends_the_run_with_its_name(bad):
    StopOnNaN().on_epoch_end(0, {"cross_entropy": 1.0, "kl": 0.0})
    with pytest.raises(
        FloatingPointError, match=r"diverged in epoch 5: kl not finite\. Lower the learning rate"
    ):
        StopOnNaN().on_epoch_end(4, {"cross_entropy": 1.0, "kl": bad})


def test_a_run_that_diverges_leaves_no_checkpoint_of_it(tmp_path):
    x, y = np.random.default_rng(0).random((40, 2, 2, 1)).astype("float32"), np.arange(40) % 3
    wild = "standard(optimizer=sgd(learning_rate=1e30))"
    net, saver = MLP(units=(8,)).build((2, 2, 1), 3), Checkpoint(tmp_path)
    with pytest.raises(FloatingPointError, match="diverged in epoch 1: cross_entropy"):
        fit.defend(net, wild, x, y, epochs=3, batch_size=10, callbacks=[saver], verbose=0)
    assert saver.latest() == (0, None)


# -- catastrophic overfitting ---------------------------------------------------------------------


def test_best_weights_are_kept_restored_and_never_learned():
    net = linear_net()
    kept = BestWeights(net)
    assert not kept.trainable_variables and float(kept.best) == 0
    good = net.get_weights()
    kept.keep(net, 0.75, 4)
    net.set_weights([0 * w for w in good])
    kept.restore(net)
    assert (float(kept.best), int(kept.epoch)) == (0.75, 4)
    for a, b in zip(good, net.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_accuracy_that_is_watched_is_that_of_the_attack(net, digits):
    x, y = digits.train

    def watch(eps):
        return StopOnCollapse(
            CollapseGuard(PGD(threat=Linf(eps=eps), steps=5, step_size=0.25), 0.2, 50), net, x, y
        )

    guard, nothing = watch(0.1), watch(0.0).accuracy()
    weights = net.get_weights()
    assert nothing == pytest.approx((np.argmax(net(x[:50]), axis=1) == y[:50]).mean())
    assert guard.accuracy() < nothing and guard.accuracy() == guard.accuracy()
    try:
        net.set_weights([0 * w for w in weights])  # decides for class 0 everywhere
        assert guard.accuracy() == pytest.approx(
            (y[:50] == 0).mean()
        )  # sees new weights without a new callback
    finally:
        net.set_weights(weights)


class Sabotage(keras.callbacks.Callback):
    """Ruins the net before epoch `at` (from 0), as a collapse does; keeps the weights of each epoch."""

    def __init__(self, net, at):
        super().__init__()
        self.net, self.at, self.begun, self.ends = net, at, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(epoch)
        if epoch == self.at:
            self.net.set_weights([0 * w for w in self.net.get_weights()])

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.net.get_weights())


def run(digits, folder, epochs, at=None):
    """(its saboteur, the rows of the history) of a run with a checkpoint."""
    x, y = (part[:400] for part in digits.train)
    net = MLP(units=(40,)).build(digits.shape, digits.classes)
    spoil, history = Sabotage(net, at), History(folder / "history.csv")
    callbacks = [spoil, history, Checkpoint(folder, history)]
    # the zeroed net has only its last bias to learn: it stays ruined
    defense = Fast(threat=Linf(eps=0.02), optimizer=SGD(learning_rate=0.05), images=100)
    fit.defend(net, defense, x, y, epochs=epochs, batch_size=40, callbacks=callbacks, verbose=0)
    return spoil, history.rows


@pytest.fixture(scope="module")
def story(digits, tmp_path_factory):
    """Three epochs; resumed and ruined at once; resumed again, as after a kill before the model was saved."""
    folder = tmp_path_factory.mktemp("fast")
    sound = run(digits, folder, 3)
    with pytest.warns(RuntimeWarning, match="overfitting in epoch 4: ") as caught:
        ruined = run(digits, folder, 9, at=3)
    told = next(str(w.message) for w in caught if w.category is RuntimeWarning)
    return sound, ruined, run(digits, folder, 9), told


def test_a_sound_run_is_left_alone_and_logs_the_accuracy(story):
    (spoil, rows), *_ = story
    assert spoil.begun == [0, 1, 2] and rows[-1]["pgd_accuracy"] > rows[0]["pgd_accuracy"] > 0
    assert not np.array_equal(spoil.ends[0][0], spoil.ends[1][0])


def test_a_collapse_restores_the_best_epoch_of_before_the_resume_and_ends_the_run(story):
    (before, _), (spoil, rows), _, told = story
    found = [row["pgd_accuracy"] for row in rows]
    best = max(range(3), key=lambda n: (found[n], n))
    assert spoil.begun == [3] and found[3] < found[best] - 0.2
    assert f"of epoch {best + 1} are restored" in told
    for kept, good in zip(spoil.ends[-1], before.ends[best], strict=True):
        np.testing.assert_array_equal(kept, good)


def test_a_run_resumed_after_its_collapse_stays_ended(story):
    _, (ruined, _), (spoil, _), _ = story
    assert spoil.begun == [4]  # one step, undone
    for kept, good in zip(spoil.ends[-1], ruined.ends[-1], strict=True):
        np.testing.assert_array_equal(kept, good)
