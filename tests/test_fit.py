"""`defend`: what it refuses, what it returns, and what it watches."""

import shutil

import keras
import numpy as np
import pytest
from sampled import sampled

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
    assert set(notes.logs[0]) == {"loss", "accuracy", "cross_entropy", "val_loss", "val_accuracy"}
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


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_epochs")
    defend(small(), epochs=2, callbacks=[Checkpoint(folder)])
    return folder


@pytest.fixture
def checkpoint(two_epochs, tmp_path):
    """Of two epochs."""
    shutil.copytree(two_epochs, tmp_path, dirs_exist_ok=True)
    return Checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": lambda: MLP(units=(8, 8)).build(SHAPE, CLASSES)}, "of another run: network"),
        ({"defense": "label_smoothing()"}, r"of another run: defense 'standard\("),
        ({"seed": 7}, "of another run: seed 0"),
        ({"batch_size": 30, "augment": "crop_flip"}, "of another run: batch_size [0-9]+, augment 'none'"),
        ({"x": X[::-1]}, "of another run: data"),
        ({"epochs": 1}, "ahead of the 1 epochs asked for"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_checkpoint_of_another_run_is_refused(changes, told, checkpoint):
    changes = {"model": small, "epochs": 4, **changes}
    model = changes.pop("model")()
    with pytest.raises(
        InvalidInput, match=rf"`callbacks` must be a Checkpoint whose files belong .*{told}.*delete it"
    ):
        defend(model, changes.pop("defense", "standard()"), callbacks=[checkpoint], **changes)


def test_where_a_rate_depends_on_the_length_of_the_run_another_length_is_another_run(tmp_path):
    falling = "standard(optimizer=sgd(schedule=cosine()))"
    defend(small(), falling, epochs=2, callbacks=[Checkpoint(tmp_path)])
    with pytest.raises(InvalidInput, match="of another run: epochs 2"):
        defend(small(), falling, epochs=3, callbacks=[Checkpoint(tmp_path)])


def test_a_damaged_or_renamed_checkpoint_is_refused(checkpoint):
    _, file = checkpoint.latest()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidInput, match=f"{file.name}, which is damaged or renamed"):
        defend(small(), epochs=4, callbacks=[checkpoint])
    file.rename(file.with_name("epoch-0009.weights.h5"))
    with pytest.raises(InvalidInput, match=r"epoch-0009\.weights\.h5, which is damaged or renamed"):
        defend(small(), epochs=9, callbacks=[checkpoint])


def test_all_phases_are_one_fit_and_callbacks_turn_the_classifiers_rate():
    rates, told = [0.5, 0.25, 0.125], Notes()

    class Rates(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            notes.append(float(np.asarray(self.model.optimizers["net"].learning_rate)))

    notes = []
    turn = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rates[epoch])
    defense = "critic(width=16, attack=high_confidence(steps=1, max_step=None))"
    defend(small(), defense, epochs=3, callbacks=[turn, Rates(), told])
    assert notes == rates and told.epochs == [0, 1, 2]
    assert "real" not in told.logs[0] and "real" in told.logs[1]  # the critic learns after the warm-up


def test_what_keras_would_add_to_the_loss_is_added():
    """A step equals that of Keras' own `fit`: regularizers of weights, of activities, and `add_loss`."""

    class Small(keras.layers.Layer):
        def call(self, x):
            self.add_loss(0.5 * keras.ops.mean(x**2))
            return x

    def net():
        keras.utils.set_random_seed(3)
        hidden = keras.layers.Dense(
            6, "tanh", kernel_regularizer=keras.regularizers.L2(0.3), activity_regularizer="l1"
        )
        return keras.Sequential(
            [keras.Input(SHAPE), keras.layers.Flatten(), hidden, Small(), keras.layers.Dense(CLASSES)]
        )

    ours = defend(net(), "standard(optimizer=sgd(learning_rate=0.1))", batch_size=len(X))
    theirs = net()
    theirs.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    theirs.fit(X, Y, batch_size=len(X), shuffle=False, verbose=0)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


WATCHED = [
    ("fast()", True),
    ("adversarial(attack=fgsm(), drop=None)", False),
    ("trades(attack=pgd(steps=1, random_start=False, jitter=0.001, loss='kl'))", True),
    ("standard()", False),
    ("adversarial(attack=fgsm())", True),
    ("nuat()", True),
    ("awp(inner=adversarial(attack=fgsm()))", True),
    ("mart()", False),
]


@pytest.mark.parametrize(("spec", "watched"), sampled(WATCHED, *WATCHED[:2]))
def test_defenses_that_can_collapse_are_watched(spec, watched):
    notes = Notes()
    defend(small(), registry.parse("defense", spec), callbacks=[notes])
    assert ("pgd_accuracy" in notes.logs[0]) == watched
    assert (BEST_WEIGHTS in notes.players) == watched


def test_a_net_with_nothing_to_train_is_refused():
    net = small()
    net.trainable = False
    with pytest.raises(InvalidInput, match="`model` must be one with weights to train"):
        defend(net)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX differentiates its operations twice")
def test_an_operation_without_a_second_derivative_is_named():
    import tensorflow as tf

    class Once(keras.layers.Layer):
        def call(self, x):
            return tf.nn.lrn(x)  # its gradient has none

    net = keras.Sequential([keras.Input(SHAPE), Once(), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    with pytest.raises(InvalidInput, match="`model` must be of operations whose gradient can be"):
        defend(net, "double_backprop()")
