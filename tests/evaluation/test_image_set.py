"""A labelled image set, checked and classified once."""

import keras
import numpy as np
import pytest

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
