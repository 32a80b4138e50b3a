import numpy as np
import pytest
from scipy.special import log_softmax

from keras_adv import losses

Z = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
Y = np.arange(9).astype("int32") % 5


def test_values_are_those_of_their_formulas():
    own = Z[np.arange(9), Y]
    others = np.where(np.eye(5, dtype=bool)[Y], -np.inf, Z).max(1)
    order = np.sort(Z, axis=1)
    np.testing.assert_allclose(losses.cross_entropy(Z, Y), -log_softmax(Z, 1)[np.arange(9), Y], rtol=1e-5)
    np.testing.assert_allclose(losses.margin(Z, Y), others - own, rtol=1e-5)
    np.testing.assert_allclose(losses.dlr(Z, Y), (others - own) / (order[:, -1] - order[:, -3]), rtol=1e-5)
    np.testing.assert_allclose(
        losses.multiclass_hinge(Z, Y), np.maximum(0, 1 + others - own), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["margin", "dlr"])
def test_positive_exactly_on_mistakes(name):
    value = np.asarray(getattr(losses, name)(Z, Y))
    np.testing.assert_array_equal(value > 0, Z.argmax(1) != Y)


def test_dlr_ignores_the_scale_of_logits():
    np.testing.assert_allclose(losses.dlr(Z * 100, Y), losses.dlr(Z, Y), rtol=1e-4)


def test_dlr_names_what_to_use_for_two_classes():
    with pytest.raises(ValueError, match="fewer than 3 classes"):
        losses.dlr(Z[:, :2], Y % 2)


def test_pick_takes_one_row_of_each_image():
    jac = np.random.default_rng(1).normal(size=(9, 5, 2, 3)).astype("float32")
    np.testing.assert_allclose(losses.pick(jac, Y), jac[np.arange(9), Y], rtol=1e-6)
