import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.backend import Net


def margin(spec, model, x, y):
    defense = registry.parse("defense", spec)
    nets = {"net": Net(model)}
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    batch = {"x": x, "y": y, **defense.prepare(nets, x, y, None)}
    return {k: np.asarray(v) for k, v in defense.moves()[0].loss(nets, batch).items()}


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ("margin(weight=1.0)", lambda d: (d**2).sum(0)),
        ("margin(weight=1.0, squared=False)", lambda d: np.sqrt((d**2).sum(0))),
        ("margin(weight=0.5, threat=linf())", lambda d: 0.5 * np.abs(d).sum(0)),
    ],
)
def test_sensitivity_of_a_linear_model_is_its_weight_difference(spec, size, linear, grey):
    model, w, _ = linear
    x, y = grey
    got = margin(spec, model, x, y)["sensitivity"]
    want = [max(size(w[:, [c]] - w[:, [j]])[0] for j in range(5) if j != c) for c in y]
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_hinge_is_crammer_singer(linear, grey):
    model, _, _ = linear
    x, y = grey
    z = model.predict(x, verbose=0)
    want = [max(max(0, 1 + z[i, j] - z[i, y[i]]) for j in range(5) if j != y[i]) for i in range(len(x))]
    np.testing.assert_allclose(margin("margin()", model, x, y)["hinge"], want, rtol=1e-4, atol=1e-5)
