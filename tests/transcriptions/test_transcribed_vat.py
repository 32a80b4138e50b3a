"""VAT against a second writing of its paper (vat.py), on a net with batch normalisation."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_adv import noise
from keras_adv.backend import Net
from keras_adv.defenses import VAT
from tests.transcriptions import vat
from tests.transcriptions.mat import value_and_gradients
from tests.transcriptions.twins import (
    SHAPE,
    check,
    double,
    images,
    net,
    of_the_package,
    same_statistics,
    wide,
)

SEED = 7


def found(defense, model, x, y=None):
    """(r of the package, the directions that it started from)."""
    x, seed = ops.convert_to_tensor(x), ops.cast(SEED, "uint32")
    virtual = defense.prepare({"net": Net(model)}, x, y, seed)["virtual"]
    seeds = noise.seeds(seed, ops.arange(x.shape[0]))
    return wide(virtual) - wide(x), wide(noise.normal(seeds, SHAPE))


def cosines(a, b):
    """Of the angle between two directions of each image."""
    a, b = (wide(v).reshape(len(v), -1) for v in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("power", [1, 2])
def test_r_is_that_of_the_power_iteration(power):
    """xi is so large here that float32 has digits of p(x + xi d) - p(x). Dropout of rate 0.5 does nothing."""
    model, (x, _, _) = net(rate=0.5), images(4)
    kept, twin = model.get_weights(), double(net())
    ours, start = found(VAT(eps=1.3, xi=2.0, power=power), model, x)
    want = vat.virtual(twin, wide(x), start, 2.0, 1.3, power)
    np.testing.assert_allclose(ours, want, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours.reshape(len(x), -1), axis=1), 1.3, rtol=1e-6)
    for before, after in zip(kept, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    # the authors' r is another: they find it by the statistics of the batch
    theirs = vat.virtual(twin, wide(x), start, 2.0, 1.3, power, training=True)
    assert cosines(theirs, ours).min() < 0.9


def test_r_leaves_the_box():
    x, _, _ = images()
    ours, _ = found(VAT(eps=1.3), net(), x)
    assert (x + ours).min() < -0.05 and (x + ours).max() > 1.05


def test_r_of_the_default_xi_is_that_of_the_hessian():
    """The paper's H d, which g tends to as xi does to 0; and, after many iterations, its first eigenvector;
    thesis 2.24: that raises the divergence more than the start does."""
    model, (x, _, _) = net(), images(4)
    twin = double(model)
    hessians = [vat.curvature(twin, image) for image in wide(x)]
    ours, start = found(VAT(), model, x)
    want = [h @ d.ravel() for h, d in zip(hessians, start, strict=True)]
    assert cosines(ours, want).min() > 0.999  # the sign too: r is along H d, not against it
    many, _ = found(VAT(eps=0.3, power=15), model, x)
    for h, r in zip(hessians, many, strict=True):
        r = r.ravel() / np.linalg.norm(r)
        assert r @ h @ r > 0.97 * np.linalg.eigvalsh(h)[-1]
    random = np.stack([0.3 * vat.unit(d) for d in start])
    assert (vat.divergences(twin, wide(x), many) > vat.divergences(twin, wide(x), random)).all()


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_the_terms_and_their_gradients(weight):
    """Thesis 2.23 in training mode, x and x + r each by the statistics of its own batch, p(x) held."""
    defense, model = VAT(weight=weight, statistics="clean"), net()
    twin = double(model)
    x, y, virtual = images(6)
    got = of_the_package(defense.moves()[0], {"net": Net(model)}, {"x": x, "y": y, "virtual": virtual})
    r = wide(virtual) - wide(x)
    weights = [v.value for v in twin.trainable_variables]
    want = value_and_gradients(lambda: vat.vat_terms(twin, wide(x), y, r, weight), weights)
    check(got["cross_entropy"], want["ce"])
    check(got["divergence"], want["kl"])


def test_no_label_is_used_but_in_the_cross_entropy():
    defense, model, (x, y, _) = VAT(statistics="clean"), net(), images(6)
    other = (y + 1) % 4
    (r, _), (same, _), (without, _) = (found(defense, model, x, labels) for labels in (y, other, None))
    np.testing.assert_array_equal(r, same)
    np.testing.assert_array_equal(r, without)
    batch, nets = {"x": x, "virtual": (x + r).astype("float32")}, {"net": Net(model)}
    one, two = (of_the_package(defense.moves()[0], nets, {**batch, "y": v}) for v in (y, other))
    check(one["divergence"], two["divergence"], 1e-7)
    assert np.abs(one["cross_entropy"][0] - two["cross_entropy"][0]).min() > 0.01


def test_the_statistics_are_those_of_the_pass_of_x():
    model, (x, y, virtual) = net(), images(6)
    twin = double(model)
    of_the_package(
        VAT(statistics="clean").moves()[0], {"net": Net(model)}, {"x": x, "y": y, "virtual": virtual}
    )
    twin(tf.constant(wide(x)), training=True)
    same_statistics(model, twin)
