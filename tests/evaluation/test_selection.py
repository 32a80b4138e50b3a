"""Which images of a set are measured."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput
from keras_adv.evaluation import select


@pytest.fixture(scope="module")
def set_of_30():
    """Images whose one value says their class, the first five labelled wrongly; and a net that reads it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 30).astype("int32")
    x = np.where(labels, 0.9, 0.1).astype("float32")[:, None, None, None]
    labels[:5] = 1 - labels[:5]
    inputs = keras.Input((1, 1, 1))
    net = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    net.set_weights([np.array([[-1.0, 1.0]], "float32"), np.array([0.5, -0.5], "float32")])
    return net, x, labels


def test_the_first_or_as_many_as_there_are(set_of_30):
    _, x, y = set_of_30
    np.testing.assert_array_equal(select(x, y, 4), np.arange(4))
    assert len(select(x, y, 1000)) == 30


def test_a_sample_is_the_seeds_own_and_each_image_is_as_likely(set_of_30):
    _, x, y = set_of_30
    one = select(x, y, 10, sample=3)
    np.testing.assert_array_equal(one, select(x, y, 10, sample=3))
    assert len(set(one)) == 10 and (np.diff(one) > 0).all()
    counts = np.bincount(np.concatenate([select(x, y, 10, sample=s) for s in range(300)]), minlength=30)
    assert counts.min() > 60 and counts.max() < 140  # 100 expected, deviation 8


def test_correct_ones_alone_in_order(set_of_30):
    net, x, y = set_of_30
    np.testing.assert_array_equal(select(x, y, 8, correct=[net]), np.arange(5, 13))
    assert (select(x, y, 25, sample=1, correct=[net]) >= 5).all()


def test_what_cannot_be_chosen_is_refused(set_of_30):
    net, x, y = set_of_30
    with pytest.raises(InvalidInput, match="`sample` must be a whole number of at least 0"):
        select(x, y, 4, sample=-1)
    with pytest.raises(InvalidInput, match="`x` must be a set with images that are classified correctly"):
        select(x[:5], y[:5], 4, correct=[net])
