"""`defend`: what it refuses, what it returns, and what it watches."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, fit, registry
from keras_adv.callbacks import BEST_WEIGHTS, Checkpoint
from keras_adv.models import MLP

SHAPE, CLASSES = (4, 4, 1), 3
RNG = np.random.default_rng(0)
X, Y = RNG.random((60, *SHAPE)).astype("float32"), (np.arange(60) % CLASSES).astype("int32")


def small():
    return MLP(units=(8,)).build(SHAPE, CLASSES)


def defend(model, defense="standard", x=X, y=Y, **options):
    return fit.defend(model, defense, x, y, **{"epochs": 1, "batch_size": 20, "verbose": 0, **options})


class Notes(keras.callbacks.Callback):
    """The names of the players, the epochs that ran, and what each of them logged."""

    def on_train_begin(self, logs=None):
        self.players, self.epochs, self.logs = set(self.model.players), [], []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.logs.append(dict(logs))


def probabilities():
    inputs = keras.Input(SHAPE)
    outputs = keras.layers.Dense(CLASSES, "softmax")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": 255 * X}, "`x`"),
        ({"x": X[:, :3]}, "`x`"),
        ({"y": Y[:-1]}, "`y`"),
        ({"y": Y + 1}, "`y`"),
        ({"defense": "standart"}, "'standard'"),
        ({"epochs": 0}, "`epochs`"),
        ({"batch_size": 2.5}, "`batch_size`"),
        ({"augment": "mixup"}, "`augment`"),
        ({"seed": -1}, "`seed`"),
        ({"validation_data": X}, r"`validation_data` must be \(images, labels\)"),
        ({"validation_data": (X, Y[:-1])}, "`validation_data`"),
        ({"validation_data": (X[:, :3], Y)}, "`validation_data`"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before_a_step(given, message):
    net = small()
    before = net.get_weights()
    with pytest.raises(InvalidInput, match=message):
        defend(net, **given)
    for old, new in zip(before, net.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_that_returns_probabilities_is_refused():
    with pytest.raises(InvalidInput, match="logits"):
        defend(probabilities())


def test_it_trains_the_model_in_place_and_returns_it():
    net = small()
    before = net.get_weights()
    assert defend(net) is net
    assert all((old != new).any() for old, new in zip(before, net.get_weights(), strict=True))


def test_a_defense_with_another_head_returns_a_model_around_the_same_layers():
    net = small()
    served = defend(net, "mmc(dim=5)")
    assert served is not net and served.layers[1].name == "body"
    features = net.get_layer("features")
    assert any(v is features.kernel for v in served.trainable_variables)
    assert defend(served, "mmc(dim=5)") is served


def test_validation_logs_clean_loss_and_accuracy_after_each_epoch():
    notes = Notes()
    net = defend(small(), epochs=2, validation_data=(X[:30], Y[:30]), callbacks=[notes])
    assert notes.epochs == [0, 1]
    assert set(notes.logs[0]) == {"cross_entropy", "val_loss", "val_accuracy"}
    right = np.argmax(net(X[:30]), axis=1) == Y[:30]
    assert notes.logs[1]["val_accuracy"] == pytest.approx(right.mean())


def test_a_checkpoint_among_the_callbacks_makes_a_run_go_on_where_it_ended(tmp_path):
    runs = []
    for epochs in (1, 3, 3):
        notes = Notes()
        runs.append((defend(small(), epochs=epochs, callbacks=[notes, Checkpoint(tmp_path)]), notes))
    assert [getattr(notes, "epochs", []) for _, notes in runs] == [[0], [1, 2], []]
    for longer, again in zip(runs[1][0].get_weights(), runs[2][0].get_weights(), strict=True):
        np.testing.assert_array_equal(longer, again)  # a finished run is loaded, not trained


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    defend(small(), callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(
        InvalidInput, match=r"`callbacks` must be a Checkpoint whose files belong .*delete it"
    ):
        defend(MLP(units=(8, 8)).build(SHAPE, CLASSES), epochs=2, callbacks=[Checkpoint(tmp_path)])


@pytest.mark.parametrize(
    ("spec", "watched"),
    [
        ("fast()", True),
        ("adversarial(attack=fgsm(), drop=0.2)", True),
        ("adversarial(attack=fgsm())", False),
        ("standard()", False),
    ],
)
def test_defenses_that_can_collapse_are_watched(spec, watched):
    notes = Notes()
    defend(small(), registry.parse("defense", spec), callbacks=[notes])
    assert ("pgd_accuracy" in notes.logs[0]) == watched
    assert (BEST_WEIGHTS in notes.players) == watched
