"""Max-Mahalanobis centres against a second writing of their paper (mmc.py), on a net with batch norm."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_adv import noise
from keras_adv.attacks import PGD, Examples, Task
from keras_adv.attacks.objectives import CrossEntropy, MarginObjective
from keras_adv.backend import FrozenNet, Net
from keras_adv.defenses import MMC
from keras_adv.defenses.mmc import CentreDistance, wrong_class
from keras_adv.layers import centres_of
from keras_adv.numerics.simplex import simplex
from keras_adv.threats import Linf
from tests.transcriptions import mmc
from tests.transcriptions.mat import value_and_gradients
from tests.transcriptions.twins import (
    CLASSES,
    check,
    double,
    images,
    net,
    of_the_package,
    part,
    same_statistics,
    statistics,
    wide,
)

HEADS = [5, 3, None]
"""Widths of the linear layer; 3 is the fewest dimensions for 4 classes, None the net's own features."""
CODE = 1.0
"""The factor of the released code, which is the package's; the paper's is 1/2."""


def prepared(dim, scale=10.0, rate=0.0, attack=None, targeted=False):
    """(defense, the net that it serves, z of its twin in float64, the centres that the net holds)."""
    defense = MMC(dim=dim, scale=scale, attack=attack, targeted=targeted)
    served = defense.predictor(net(rate=rate))
    twin = part(double(net()))
    if dim is not None:
        twin = keras.Model(twin.input, layers.Dense(dim, dtype="float64")(twin.output))
    held = [w for v, w in zip(served.weights, served.get_weights(), strict=True) if of_the_twin(v)]
    twin.set_weights(held)
    return defense, served, twin, wide(centres_of(served))


def of_the_twin(variable):
    return "centres" not in variable.path and "seed" not in variable.path


@pytest.mark.parametrize("classes, dims", [(4, 7), (4, 3), (10, 10), (10, 9), (2, 1), (2, 5), (30, 64)])
def test_centres_are_those_of_algorithm_1(classes, dims):
    """Not a rotation of them: both start with the first unit vector and use one more coordinate a class."""
    ours, theirs = simplex(classes, dims, 10.0), mmc.centres(10.0, dims, classes)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    for found in (ours, theirs):
        np.testing.assert_allclose(found @ found.T, mmc.inner_products(10.0, classes), atol=1e-9)


@pytest.mark.parametrize("dim", HEADS)
def test_the_head_holds_the_centres_and_scores_by_the_distance_to_them(dim):
    _, served, twin, mu = prepared(dim)
    np.testing.assert_allclose(mu, mmc.centres(10.0, mu.shape[1], CLASSES), atol=1e-5)
    x, _, _ = images(4)
    got = np.asarray(served(x, training=False))
    z = twin(wide(x), training=False)
    np.testing.assert_allclose(got, [mmc.logits(row, mu) for row in z], rtol=1e-5)
    assert list(got.argmax(1)) == [mmc.prediction(row, mu) for row in z]
    assert not any("centres" in v.path for v in served.trainable_variables)


@pytest.mark.parametrize("dim, hostile", [(5, False), (5, True), (3, True), (None, False)])
def test_the_loss_and_its_gradients(dim, hostile):
    """In training mode, by one pass: of x, or with an attack of the adversarial images alone, whose
    statistics are then the only ones that batch normalisation has seen."""
    defense, served, twin, mu = prepared(dim, attack=PGD(threat=Linf(eps=0.1), steps=1) if hostile else None)
    x, y, moved = images(6)
    batch = {"x": x, "y": y, "images": moved} if hostile else {"x": x, "y": y}
    found = of_the_package(defense.moves()[0], {"net": Net(served)}, batch)["centre_distance"]
    learned_from = wide(moved if hostile else x)
    want = value_and_gradients(
        lambda: {"mmc": mmc.losses(twin, learned_from, y, mu, CODE)},
        [v.value for v in twin.trainable_variables],
    )["mmc"]
    check(found, want)
    same_statistics(served, twin)


@pytest.mark.parametrize("targeted, rate", [(False, 0.0), (True, 0.5)])
@pytest.mark.parametrize("loss", [CentreDistance(), CrossEntropy()])
def test_the_images_of_adversarial_training(loss, targeted, rate):
    """Two signed steps from the drawn start, in ball and box, with the stored statistics; units that training
    drops stay (at `rate`, on the package's side). The targets are those that the defense draws."""
    eps, step, steps = 0.1, 0.06, 2
    attack = PGD(threat=Linf(eps=eps), steps=steps, step_size=step / eps, loss=loss)
    defense, served, twin, mu = prepared(5, scale=2.0, rate=rate, attack=attack, targeted=targeted)
    x, y, _ = images(4)
    seeds = noise.seeds(7, ops.arange(len(x)))
    start = wide(attack.threat.sample(ops.convert_to_tensor(x), seeds))
    targets = (
        np.asarray(wrong_class(ops.convert_to_tensor(y), seeds, CLASSES)) if targeted else [None] * len(y)
    )

    def objective(z, i):
        if loss == CrossEntropy():
            return mmc.softmaxed(z, y[i], mu, targets[i])
        return mmc.adaptive("targeted 1" if targeted else "untargeted 1", z, y[i], mu, targets[i])

    before = statistics(served)
    tensors = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    found = np.asarray(defense.prepare({"net": Net(served)}, *tensors, 7)["images"])
    np.testing.assert_array_equal(statistics(served), before)
    want = mmc.descend(twin, objective, wide(x), start, eps, step, steps)
    np.testing.assert_allclose(found, want, atol=1e-6)
    in_the_box = (found == 0) | (found == 1)
    assert in_the_box.any() and (np.isclose(np.abs(found - x), eps) & ~in_the_box).any()


def test_attacks_that_know_it_ascend_the_paper_s_adaptive_losses():
    """The distance to the own centre or the target's, and the difference of two; twice the paper's, for they
    have no factor 1/2, and with the sign of what is maximised."""
    _, served, twin, mu = prepared(5)
    x, y, moved = images(6)
    z, target = twin(wide(moved), training=False), (y + 1) % CLASSES
    logits, moved = Net(served).logits(moved), ops.convert_to_tensor(moved)
    for kind, objective, goals in (
        ("untargeted 1", CentreDistance(), {}),
        ("targeted 1", CentreDistance(), {"target": ops.convert_to_tensor(target)}),
        ("untargeted 2", MarginObjective(), {}),
    ):
        task = Task(FrozenNet(served), Examples.of_batch(ops.convert_to_tensor(x), y, **goals))
        want = [-2 * mmc.adaptive(kind, z[i], y[i], mu, target[i]) for i in range(len(y))]
        np.testing.assert_allclose(objective.value(task, moved, logits, None), want, rtol=1e-4, atol=1e-4)
