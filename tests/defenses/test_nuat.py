import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import noise
from keras_adv.backend import Net, value_and_grad
from keras_adv.defenses import NuAT
from keras_adv.defenses.nuat import nuclear_norm
from keras_adv.models import MLP

SEED = noise.fold(np.uint32(0), 1)
EPS = 0.1


@pytest.fixture
def small(digits):
    return MLP(units=(16,)).build(digits.shape, digits.classes)


def batch_of(digits, count=20):
    return tuple(ops.convert_to_tensor(part[:count]) for part in digits.train)


def at_step(model, step):
    net = Net(model)
    net.step, net.epoch = ops.convert_to_tensor(step), ops.convert_to_tensor(100.0)
    return {"net": net}


@pytest.mark.parametrize("shape", [(20, 5), (3, 5), (6, 6)])
def test_shares_and_their_gradients_are_those_of_the_nuclear_norm(shape):
    m = np.random.default_rng(0).normal(size=shape).astype("float32")
    values, _, gradient = value_and_grad(lambda v: (nuclear_norm(v), None), ops.convert_to_tensor(m))
    u, _, v = np.linalg.svd(m, full_matrices=False)
    np.testing.assert_allclose(np.sum(values), np.linalg.norm(m, "nuc"), rtol=1e-5)
    np.testing.assert_allclose(gradient, u @ v, atol=1e-5)


def test_directions_without_size_have_no_gradient():
    rank_one = np.outer(np.arange(1.0, 7.0), [1.0, -2.0, 0.5]).astype("float32")
    for m, want in ((rank_one, rank_one / np.linalg.norm(rank_one)), (np.zeros((6, 3), "float32"), 0.0)):
        _, _, gradient = value_and_grad(lambda v: (nuclear_norm(v), None), ops.convert_to_tensor(m))
        np.testing.assert_allclose(gradient, np.broadcast_to(want, m.shape), atol=1e-5)


def test_the_loss_is_the_papers_on_a_batch(small, digits):
    x, y = batch_of(digits)
    defense, nets = NuAT(weight=3.0), at_step(small, 2)
    moved = np.clip(np.asarray(x) + np.random.default_rng(0).uniform(-EPS, EPS, x.shape), 0, 1).astype(
        "float32"
    )
    batch = {"x": x, "y": y, "adversarial": ops.convert_to_tensor(moved)}
    found = defense.moves()[0].loss(nets, batch)
    z, other = (np.asarray(small(v, training=False)) for v in (x, moved))
    np.testing.assert_allclose(
        np.mean(found["nuclear"]), 3 * np.linalg.norm(other - z, "nuc") / 20, rtol=1e-4
    )
    want = keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)
    np.testing.assert_allclose(found["cross_entropy"], want, rtol=1e-5)


def test_the_step_is_taken_from_signs_at_random_and_put_back(small, digits):
    x, y = batch_of(digits)
    made = np.asarray(NuAT(weight=0.0).prepare(at_step(small, 1), x, y, SEED)["adversarial"])
    x = np.asarray(x)
    assert np.abs(made - x).max() <= EPS + 1e-6 and made.min() >= 0 and made.max() <= 1
    inside = (x > EPS) & (x < 1 - EPS)
    # x + 0.05 b + 0.1 s, cut at 0.1: 0.1 where both signs agree, else 0.05
    lengths = np.abs(made - x)[inside]
    near = [np.isclose(lengths, size, atol=1e-5) for size in (0.05, 0.1)]
    assert np.all(near[0] | near[1]) and 0.4 < near[0].mean() < 0.6


def test_every_second_batch_ascends_the_norm_too(small, digits):
    x, y = batch_of(digits)
    plain, alternate, always = NuAT(weight=0.0), NuAT(weight=9.0), NuAT(weight=9.0, alternate=False)
    made = {
        (name, step): np.asarray(d.prepare(at_step(small, step), x, y, SEED)["adversarial"])
        for name, d in (("plain", plain), ("alternate", alternate), ("always", always))
        for step in (1, 2)
    }
    np.testing.assert_array_equal(made["alternate", 1], made["plain", 1])
    np.testing.assert_array_equal(made["alternate", 2], made["always", 2])
    assert np.any(made["always", 1] != made["plain", 1])
    size = {k: np.linalg.norm(np.asarray(small(v)) - np.asarray(small(x)), "nuc") for k, v in made.items()}
    assert size["always", 2] > size["plain", 2]
