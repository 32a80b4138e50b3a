"""The net that attacks are tested on: small, so that what an attack costs is its own loop."""

import functools

import keras
import numpy as np
import pytest
from attack_specs import quick

from keras_adv import attack


@pytest.fixture(scope="session")
def net(digits):
    """A trained net with all that an attack could disturb: batch norm's statistics and a dropout's stream.

    It has a layer named "features". Networks of convolutions are attacked in tests/evaluation.
    """
    keras.utils.set_random_seed(0)
    inputs = keras.Input(digits.shape)
    h = keras.layers.Flatten()(keras.layers.BatchNormalization()(inputs))
    h = keras.layers.Dropout(0.1)(keras.layers.Dense(32, activation="relu", name="features")(h))
    made = keras.Model(inputs, keras.layers.Dense(10)(h))
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    made.fit(*digits.train, batch_size=32, epochs=10, verbose=0)
    return made


@pytest.fixture(scope="session")
def images(digits):
    """48 test images with their labels."""
    return digits.test[0][:48], digits.test[1][:48]


@pytest.fixture(scope="session")
def runs(net, images):
    """name -> (what the attack finds on the images, whether the net is as it was): laws share these runs."""

    def run(name):
        before = [np.asarray(v).copy() for v in net.variables]
        result = attack(net, *images, quick(name))
        same = [np.array_equal(old, np.asarray(new)) for old, new in zip(before, net.variables, strict=True)]
        return result, all(same)

    return functools.cache(run)


@pytest.fixture(scope="session")
def found(runs):
    """name -> what the attack finds on the images."""
    return lambda name: runs(name)[0]
