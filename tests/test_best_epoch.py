"""The epoch that withstands an attack best is served."""

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput
from keras_adv.callbacks import Checkpoint
from keras_adv.models import MLP

SPEC = "pgd(threat=linf(eps=0.1), steps=3)"


@pytest.fixture
def run(digits):
    x, y = (part[:200] for part in digits.train)
    held = tuple(part[:60] for part in digits.validation)

    def defend(*callbacks, defense="standard(optimizer=sgd(learning_rate=0.3))", **options):
        net = MLP(units=(16,)).build(digits.shape, digits.classes)
        options = {
            "epochs": 5,
            "batch_size": 50,
            "validation_data": held,
            "best": SPEC,
            "verbose": 0,
            **options,
        }
        return keras_adv.defend(net, defense, x, y, callbacks=callbacks, **options), held

    return defend


class Weights(keras.callbacks.Callback):
    """The weights after each epoch, the average where it has begun."""

    def __init__(self):
        super().__init__()
        self.seen, self.averages = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.predictor.get_weights())
        if "averaged" in self.model.observers:
            self.averages.append([np.array(v) for v in self.model.observers["averaged"].copies])


class Spoil(keras.callbacks.Callback):
    """No weights any more as the last epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 4:
            net = self.model.predictor
            net.set_weights([0 * w for w in net.get_weights()])


def best_of(history):
    found = history["val_robust_accuracy"]
    return max(epoch for epoch, accuracy in enumerate(found) if accuracy == max(found))


def test_what_is_served_is_the_best_epoch_and_measures_as_it_was_logged(run):
    weights = Weights()
    served, held = run(Spoil(), weights)
    best = best_of(served.history.history)
    assert best < 4
    for ours, theirs in zip(served.get_weights(), weights.seen[best], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    again = keras_adv.attacks.PGD(threat="linf(eps=0.1)", steps=3)(served, *held)
    robust = 1 - np.asarray(again.success).mean()
    assert robust == pytest.approx(max(served.history.history["val_robust_accuracy"]))


@pytest.mark.slow
def test_weights_that_keras_puts_back_are_not_those_of_the_best_epoch(run):
    stop = keras.callbacks.EarlyStopping("loss", patience=9, min_delta=10.0, restore_best_weights=True)
    served, held = run(stop)  # puts the first epoch back in the end
    again = keras_adv.attacks.PGD(threat="linf(eps=0.1)", steps=3)(served, *held)
    robust = 1 - np.asarray(again.success).mean()
    assert robust == pytest.approx(max(served.history.history["val_robust_accuracy"]))


@pytest.mark.slow
def test_an_average_is_chosen_among_once_it_has_begun(run):
    weights = Weights()
    served, _ = run(weights, average="ema(decay=0.9, start=0.4)")  # from the second of the five epochs on
    best = best_of(served.history.history)
    chosen = weights.averages[best] if best >= 2 else weights.seen[best]
    for ours, theirs in zip(served.get_weights(), chosen, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.slow
def test_a_resumed_run_knows_its_best_epoch(run, tmp_path):
    class Cut(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    whole, _ = run()
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoint(tmp_path), Cut())
    again, _ = run(Checkpoint(tmp_path))
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    with pytest.raises(InvalidInput, match="of another run: best"):
        run(Checkpoint(tmp_path), best="fgsm()")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"best": "deepfool()"}, "`best` must be a bounded attack"),
        ({"validation_data": None}, "`validation_data`"),
    ],
)
def test_what_cannot_choose_is_refused(options, told, run):
    with pytest.raises(InvalidInput, match=told):
        run(**options)
