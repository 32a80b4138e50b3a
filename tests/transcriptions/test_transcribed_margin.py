"""Margin maximisation against a second writing of its chapter (margin.py), on a net with batch norm."""

import numpy as np
import pytest
from keras import ops

from keras_adv.backend import Net
from keras_adv.defenses.margin import Margin
from keras_adv.threats import L2, Linf
from tests.transcriptions import margin
from tests.transcriptions.small_net import (
    RTOL,
    assert_same_gradients,
    images,
    package_values_and_gradients,
    twins,
)

FORMS = {
    "l2, squared as in the authors' code": (2, True, L2()),
    "l2, as the thesis prints it": (2, False, L2()),
    "linf": (1, False, Linf()),
}


@pytest.fixture(
    scope="module", params=[(form, loss) for form in FORMS for loss in ("hinge", "cross_entropy")]
)
def both(request):
    """What both sides say. The dropout's rate is 0: the hinge is of a pass in training mode."""
    form, loss = request.param
    q, squared, threat = FORMS[form]
    single, double = twins(seed=1)
    x, y = images(2, 6), np.array([0, 1, 2, 0, 1, 2], "int32")
    want = margin.values_and_gradients(
        double, x.astype("float64"), y, double.trainable_variables, q, squared, loss
    )
    defense = Margin(weight=1.0, threat=threat, squared=squared, loss=loss)
    nets, batch = {"net": Net(single)}, {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}
    batch |= defense.prepare(nets, batch["x"], batch["y"], None)
    got = package_values_and_gradients(
        lambda: defense.moves()[0].loss(nets, batch), single, (loss, "sensitivity")
    )
    return single, loss, got, want


@pytest.mark.parametrize("term", ["classification", "sensitivity"])
def test_values_and_gradients_are_those_of_the_thesis(both, term):
    """Equation 3.18 with its sign corrected, term by term."""
    single, loss, (values, gradients), (wanted, slopes) = both
    name = loss if term == "classification" else term
    np.testing.assert_allclose(values[name], wanted[term], rtol=RTOL)
    assert_same_gradients(gradients[name], slopes[term], single)


def test_the_images_are_not_all_beyond_the_margin():
    """Where every hinge is 0 its gradient says nothing."""
    _, double = twins(seed=1)
    x, y = images(2, 6).astype("float64"), np.array([0, 1, 2, 0, 1, 2])
    values, _ = margin.values_and_gradients(double, x, y, double.trainable_variables)
    assert sum(value > 0 for value in values["classification"]) >= 3
