"""A small net and a dozen images."""

import keras
import numpy as np
import pytest

from tests.bad_input.tools import classifier


@pytest.fixture
def plain():
    keras.utils.set_random_seed(0)
    return classifier()


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return rng.random((12, 8, 8, 1)).astype("float32"), np.arange(12) % 10
