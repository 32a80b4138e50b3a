"""A .keras file in half the bytes is read by plain Keras, and holds the weights that the model now has."""

import keras
import numpy as np
import pytest

from keras_adv import artifact
from keras_adv.models import WRN


@pytest.fixture
def net():
    return WRN(depth=10, width=2).build((8, 8, 1), 3)


def test_half_a_file_computes_what_the_rounded_model_computes(net, tmp_path):
    before = [np.array(w) for w in net.get_weights()]
    artifact.write(net, tmp_path / "whole.keras")
    assert all((a == b).all() for a, b in zip(before, net.get_weights(), strict=True))
    artifact.write(net, tmp_path / "half.keras", half=True)
    whole, half = ((tmp_path / f"{name}.keras").stat().st_size for name in ("whole", "half"))
    assert half < 0.6 * whole
    assert {path.name for path in tmp_path.iterdir()} == {"whole.keras", "half.keras"}
    for read in (artifact.read, keras.saving.load_model):
        model = read(tmp_path / "half.keras")
        assert {str(v.dtype) for v in model.trainable_variables} == {"float32"}
        assert model.compute_dtype == "float32"
        for ours, theirs, first in zip(net.get_weights(), model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_allclose(ours, first, rtol=2.0**-11, atol=1e-7)


def test_weights_beyond_float16_are_not_rounded_to_infinity(net, tmp_path):
    net.trainable_variables[0].assign(np.full(net.trainable_variables[0].shape, 1e6, "float32"))
    with pytest.raises(FloatingPointError, match="range of float16"):
        artifact.write(net, tmp_path / "half.keras", half=True)
    assert not list(tmp_path.iterdir())
