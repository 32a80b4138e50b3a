"""What `defend` may be trained on, and what it makes of weights."""

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput
from keras_adv.models import MLP

SHAPE, CLASSES, BATCH, EPOCHS = (4, 4, 1), 3, 10, 2
RNG = np.random.default_rng(0)
X, Y = RNG.random((40, *SHAPE)).astype("float32"), (np.arange(40) % CLASSES).astype("int32")
STEPS = len(X) // BATCH
DEFENSE = "standard(optimizer=sgd(learning_rate=0.05))"


class InOrder(keras.utils.PyDataset):
    """The batches of X and Y in their own order."""

    def __init__(self, weights=None):
        super().__init__()
        self.parts = (X, Y) if weights is None else (X, Y, weights)

    def __len__(self):
        return STEPS

    def __getitem__(self, number):
        return tuple(part[number * BATCH : (number + 1) * BATCH] for part in self.parts)


def generator():
    while True:
        yield from (InOrder()[number] for number in range(STEPS))


def dataset():
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)


def trained(x=X, y=None, **options):
    net = MLP(units=(8,)).build(SHAPE, CLASSES)
    options = {"epochs": EPOCHS, "verbose": 0, **options}
    return keras_adv.defend(net, options.pop("defense", DEFENSE), x, y, **options)


def same(ours, theirs):
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.fixture(scope="module")
def in_order():
    return trained(InOrder())


def test_a_dataset_and_a_generator_train_as_a_pydataset_does(in_order):
    same(trained(generator(), steps_per_epoch=STEPS), in_order)
    same(trained(dataset()), in_order)
    assert sorted(in_order.history.history) == ["accuracy", "cross_entropy", "loss"]


def test_weights_of_images_multiply_their_terms():
    weights = RNG.random(40).astype("float32")
    given = trained(InOrder(weights))
    alone = [trained(X, Y, sample_weight=w, batch_size=40, epochs=1) for w in (weights, 2 * weights)]
    loss = [one.history.history["loss"][0] for one in alone]
    assert loss[1] == pytest.approx(2 * loss[0], rel=1e-5)  # the first step sees the same net
    zero = trained(InOrder(0 * weights))
    same(zero, MLP(units=(8,)).build(SHAPE, CLASSES))
    assert any((a != b).any() for a, b in zip(given.get_weights(), zero.get_weights(), strict=True))


def test_weights_and_labels_in_a_column_are_those_in_a_row():
    weights = RNG.random(40).astype("float32")
    row, column = InOrder(weights), InOrder(weights)
    column.parts = (X, Y[:, None], weights[:, None])
    same(trained(row), trained(column))


def test_the_loss_is_a_mean_over_images_where_batches_are_of_different_sizes():
    def batches():
        yield X[:30], Y[:30]
        yield X[30:], Y[30:]

    found = trained(batches(), steps_per_epoch=2, epochs=1).history.history
    assert found["loss"][0] == pytest.approx(found["cross_entropy"][0], rel=1e-5)


@pytest.mark.slow
def test_weights_of_classes_are_weights_of_their_images():
    by_class = {0: 0.5, 2: 3.0}
    weights = np.array([0.5, 1.0, 3.0], "float32")[Y]
    same(trained(X, Y, class_weight=by_class), trained(X, Y, sample_weight=weights))
    same(trained(InOrder(), class_weight=by_class), trained(InOrder(weights)))


def test_fewer_steps_count_as_an_epoch_when_asked():
    whole = trained(X, Y, batch_size=BATCH, epochs=1, steps_per_epoch=2)
    assert len(whole.history.history["loss"]) == 1
    with pytest.raises(InvalidInput, match="`steps_per_epoch` must be at most the 4 batches"):
        trained(X, Y, batch_size=BATCH, steps_per_epoch=5)


def test_validation_data_may_be_a_dataset():
    arrays = trained(X, Y, validation_data=(X, Y)).history.history
    stream = trained(X, Y, validation_data=InOrder()).history.history
    assert arrays["val_loss"] == pytest.approx(stream["val_loss"], rel=1e-5)
    with pytest.raises(InvalidInput, match="`validation_data` must be"):
        trained(X, Y, validation_data=generator())
    with pytest.raises(InvalidInput, match="`validation_data` must be data with an end"):
        trained(X, Y, validation_data=dataset().repeat())
    with pytest.raises(InvalidInput, match="the weights of `validation_data`"):
        trained(X, Y, validation_data=(X, Y, np.ones(7)))


@pytest.mark.parametrize(
    ("x", "options", "told"),
    [
        (X, {}, "`y` must be labels"),
        (InOrder(), {"y": Y}, "`y` must be None with batches"),
        (InOrder(), {"sample_weight": Y}, "`sample_weight` must be None with batches"),
        (InOrder(), {"augment": "crop_flip"}, "`augment` must be 'none' with batches"),
        (InOrder(), {"defense": "mad()"}, "`x` must be arrays for mad"),
        (InOrder(), {"defense": "deepfool_training()"}, "`x` must be arrays for deepfool_training"),
        (generator(), {}, "`steps_per_epoch` must be given"),
        (generator(), {"steps_per_epoch": 4, "class_weight": {0: 1.0}}, "`class_weight` must be None"),
        (InOrder(np.full(40, np.nan)), {}, "the weights of `x`"),
        (InOrder(np.ones(40)), {"class_weight": {0: 1.0}}, "`class_weight` must be None"),
        (X, {"y": Y, "verbose": "loud"}, "`verbose` must be"),
        (iter([]), {"steps_per_epoch": 4}, "`x` must be data with at least one batch"),
        (iter([X]), {"steps_per_epoch": 1}, r"batches of \(images, labels\)"),
        (X, {"y": Y, "class_weight": {5: 1.0}}, "`class_weight` must be"),
        (X, {"y": Y, "sample_weight": -np.ones(40)}, "`sample_weight` must be finite numbers of at least 0"),
        (X, {"y": Y, "optimizer": "adamm"}, "`optimizer` must be"),
        (X, {"y": Y, "callbacks": [print]}, "`callbacks` must be Keras callbacks"),
    ],
)
def test_what_cannot_be_trained_on_is_told_before_a_step(x, options, told):
    with pytest.raises(InvalidInput, match=told):
        trained(x, options.pop("y", None), **options)
