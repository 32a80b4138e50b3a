"""A checkpoint of random weights and statistics."""

import pytest
from numpy_nets import drawn, wrn_shapes


@pytest.fixture(scope="module")
def state():
    return drawn(wrn_shapes())
