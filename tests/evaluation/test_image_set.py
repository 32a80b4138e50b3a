"""A labelled image set, checked and classified once."""

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput
from keras_adv.evaluation.image_set import ImageSet, classify


def test_logits_are_the_models_whatever_the_batch_size(net, digits):
    x, y = digits.test[0][:21], digits.test[1][:21]
    expected = net.predict(x, verbose=0)
    for size in (8, 100):
        made = classify(net, x, y, size)
        np.testing.assert_allclose(made.logits, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(made.correct, expected.argmax(1) == y)
    assert made.classes == 10 and made.x.dtype == np.float32 and made.y.dtype == np.int32


def test_of_equal_logits_the_first_class_is_the_decision():
    logits = np.float32([[-0.0, 0.0, -1.0], [0.0, -0.0, -1.0], [-2.0, 1.0, 1.0]])
    images = ImageSet(np.zeros((3, 2, 2, 1), "float32"), np.int32([0, 0, 1]), logits)
    assert images.correct.all() and images.classes == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((3, 4, 4, 1))}, "`x` must be images of shape"),
        ({"y": [0, 1, 10]}, r"class numbers 0\.\.9"),
        ({"y": [0, 1]}, "integer labels of shape"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_classified_is_refused(change, message, net, digits):
    given = {"x": digits.test[0][:3], "y": [0, 1, 2], "batch_size": 8, "seed": 0, **change}
    with pytest.raises(InvalidInput, match=message):
        classify(net, **given)


def test_a_model_without_logits_for_each_image_is_refused(digits):
    inputs = keras.Input(digits.shape)
    maps = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    with pytest.raises(InvalidInput, match="model"):
        classify(maps, digits.test[0][:3], [0, 1, 2], 8)


class Batched(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.parts = list(zip(np.array_split(x, 4), np.array_split(y, 4), strict=True))

    num_batches = 4

    def __getitem__(self, number):
        return self.parts[number]


def test_a_data_set_is_its_images_and_labels(net, digits):
    x, y = (part[:30] for part in digits.test)
    want = keras_adv.evaluate(net, x, y, "fgsm(threat=linf(eps=0.1))")["attacks"][0]["robust_accuracy"]
    sets = [Batched(x, y)]
    if keras.config.backend() == "tensorflow":
        tf = pytest.importorskip("tensorflow")
        whole = tf.data.Dataset.from_tensor_slices((x, y))
        sets += [whole.batch(7), whole]
    for data in sets:
        found = keras_adv.evaluate(net, data, None, "fgsm(threat=linf(eps=0.1))")
        assert found["n"] == 30 and found["attacks"][0]["robust_accuracy"] == want
    with pytest.raises(InvalidInput, match="`y` must be None, as the data set `x` has the labels"):
        keras_adv.attack(net, sets[0], y, "fgsm(threat=linf(eps=0.1))")
    if keras.config.backend() == "tensorflow":
        for bad, words in (
            (whole.batch(7).repeat(), "repeats for ever"),
            (whole.map(lambda x, y: x), "batches"),
        ):
            with pytest.raises(InvalidInput, match=words):
                keras_adv.audit(net, bad, None)
