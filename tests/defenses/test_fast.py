import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import fit, noise
from keras_adv.backend import Game, Net
from keras_adv.callbacks import Checkpoint, History
from keras_adv.defenses.fast import Fast
from keras_adv.models import MLP
from keras_adv.optimizers import SGD
from keras_adv.threats import L2, Linf
from keras_adv.validate import InvalidInput


class Sabotage(keras.callbacks.Callback):
    """Ruins the net before epoch `at` (from 0), as catastrophic overfitting does; keeps the weights of each epoch."""

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
    history.resume(Checkpoint(folder).latest()[0])
    callbacks = [spoil, history, Checkpoint(folder)]
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


def test_its_step_is_rs_fgsm_in_numpy(linear, grey):
    model, w, b = linear
    x, y = grey
    seeds = noise.seeds(7, ops.arange(len(x)))
    start = np.asarray(Linf(eps=0.1).sample(ops.convert_to_tensor(x), seeds))
    z = start.reshape(len(x), -1) @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    slope = (p @ w.T).reshape(x.shape)
    want = np.clip(x + np.clip(start + 0.125 * np.sign(slope) - x, -0.1, 0.1), 0, 1)
    nets = {"net": Net(model)}
    got = Fast().prepare(nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), 7)["adversarial"]
    sure = np.abs(slope) > 1e-4
    assert sure.mean() > 0.5
    np.testing.assert_allclose(np.asarray(got)[sure], want[sure], atol=1e-5)


def test_it_takes_any_norm_and_one_gradient(net, digits):
    x, y = (ops.convert_to_tensor(part[:20]) for part in digits.train)
    moved = Fast(threat=L2(eps=0.5)).prepare({"net": Net(net)}, x, y, 0)["adversarial"]
    norms = np.asarray(L2().norm(moved - x))
    assert norms.max() <= 0.5 + 1e-5 and norms.min() > 0.2
    assert Fast().passes(10) == {"net.input": 1, "net.weights": 1}
    with pytest.raises(InvalidInput, match="eps"):
        Fast(threat=L2())


def test_its_accuracy_is_that_of_the_attack(net, digits):
    x, y = digits.train
    (guard,) = Fast(images=50).callbacks(net, x, y)
    nothing = Fast(threat=Linf(eps=0.0), images=50).callbacks(net, x, y)[0].accuracy()
    assert nothing == pytest.approx((net.predict(x[:50], verbose=0).argmax(1) == y[:50]).mean())
    assert guard.accuracy() < nothing and guard.accuracy() == guard.accuracy()
    weights = net.get_weights()
    net.set_weights([0 * w for w in weights])  # decides for class 0 everywhere
    assert guard.accuracy() == pytest.approx((y[:50] == 0).mean())  # sees new weights without a new callback
    net.set_weights(weights)


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


def test_what_it_keeps_is_no_part_of_the_net(fresh):
    count = len(fresh.weights)
    game = Game(fresh, Fast())
    assert len(fresh.weights) == count and not game.players["keeper"].trainable_variables
