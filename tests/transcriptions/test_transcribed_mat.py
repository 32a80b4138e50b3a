"""MAT and TRADES against a second writing of their papers (mat.py), on a net with batch normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_adv.attacks import Examples, Task
from keras_adv.attacks.objectives import KL
from keras_adv.backend import FrozenNet, Net
from keras_adv.defenses import MAT, Trades
from keras_adv.defenses.mat import ASCENT, CosineDistance, MATLoss
from keras_adv.defenses.trades import TradesLoss
from keras_adv.layers import centres_of
from keras_adv.numerics.simplex import simplex
from keras_adv.threats import Linf
from tests.transcriptions import mat
from tests.transcriptions.twins import check, double, images, net, of_the_package, part, wide


def prepared(defense, rate=0.0):
    """(net that the defense serves, phi of its twin in float64, the twin's weights, centres)."""
    served = defense.predictor(net(rate=rate))
    body = part(double(net()))
    linear = layers.Dense(defense.dim, dtype="float64")
    twin = keras.Model(body.input, linear(body.output))
    twin.set_weights([w for v, w in zip(served.weights, served.get_weights(), strict=True) if learned(v)])
    return served, twin, [v.value for v in twin.trainable_variables], np.asarray(centres_of(served))


def learned(variable):
    return "centres" not in variable.path and "seed" not in variable.path


def test_centres_are_the_simplex_of_the_recursion():
    """Eq. 3 fixes the centres but for a rotation: what they are to one another, and their length."""
    for classes, dims in ((4, 7), (10, 10)):
        ours, theirs = simplex(classes, dims, 10.0), mat.centres(classes, dims, 10.0)
        np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-9)


@pytest.mark.parametrize("alpha, beta", [pytest.param(1.0, 1.0, marks=pytest.mark.slow), (5.0, 4.0)])
def test_the_terms_of_mat_and_their_gradients(alpha, beta):
    """Eq. 4, 6 (with eq. 7), 8 and 9, in training mode: x and x' each by the statistics of its own batch, and
    both features of eq. 8 learning. Dropout has the rate 0."""
    defense = MAT(alpha=alpha, beta=beta, dim=5, scale=10.0, statistics="clean")
    served, twin, weights, mu = prepared(defense)
    x, y, moved = images(6)
    found = of_the_package(defense.moves()[0], {"net": Net(served)}, {"x": x, "y": y, "adversarial": moved})
    want = mat.value_and_gradients(
        lambda: mat.mat_terms(twin, wide(x), y, wide(moved), wide(mu), alpha, beta), weights
    )
    for name in ("ftc", "so", "bibo"):
        check(found[name], want[name])


def test_so_written_out_is_the_gradient_of_ftc():
    """Eq. 7 against a tape, in the transcription itself; the square takes the sign away."""
    rng = np.random.default_rng(0)
    phi, mu = tf.constant(rng.normal(size=6)), tf.constant(rng.normal(size=6))
    with tf.GradientTape() as tape:
        tape.watch(phi)
        distance = mat.ftc(phi, mu)
    slope = tape.gradient(distance, phi).numpy()
    assert float(mat.so(phi, mu)) == pytest.approx(slope @ slope, rel=1e-12)


@pytest.mark.parametrize("weight", [pytest.param(1.0, marks=pytest.mark.slow), 6.0])
def test_the_terms_of_trades_and_their_gradients(weight):
    """Eq. 1 with 1 / lambda = weight; both distributions of the divergence learn."""
    defense, model = Trades(weight=weight, statistics="clean"), net()
    twin = double(model)
    x, y, moved = images(6)
    found = of_the_package(defense.moves()[0], {"net": Net(model)}, {"x": x, "y": y, "adversarial": moved})
    weights = [v.value for v in twin.trainable_variables]
    want = mat.value_and_gradients(
        lambda: mat.trades_terms(twin, wide(x), y, wide(moved), 1 / weight), weights
    )
    check(found["cross_entropy"], want["ce"])
    check(found["kl"], want["kl"])


def at_start(model):
    for v in model.non_trainable_variables:
        if "seed_generator_state" in v.path:
            v.assign([5, 0])


@pytest.mark.parametrize("defense", ["mat", "trades"])
def test_with_dropout_x_and_x_adv_draw_masks_of_their_own(defense):
    """Half of the units dropped, the stream put at one place for both sides: the pass of x draws first, that
    of x' next. The two sides share float32, for a twin in float64 would draw other masks."""
    x, y, moved = images(6)
    if defense == "mat":
        played = MAT(dim=5, statistics="clean")
        served = played.predictor(net(rate=0.5))
        phi = keras.Model(served.input, served.layers[-2].output)
        mu = np.asarray(centres_of(served))
        names = {"ftc": "ftc", "so": "so", "bibo": "bibo"}

        def terms():
            return mat.mat_terms(phi, x, y, moved, mu, 1.0, 1.0)
    else:
        played, served = Trades(statistics="clean"), net(rate=0.5)
        names = {"cross_entropy": "ce", "kl": "kl"}

        def terms():
            return mat.trades_terms(served, x, y, moved, 1 / 3)

    assert any("seed_generator_state" in v.path for v in served.non_trainable_variables)
    kept = served.get_weights()
    at_start(served)
    found = of_the_package(played.moves()[0], {"net": Net(served)}, {"x": x, "y": y, "adversarial": moved})
    served.set_weights(kept)
    at_start(served)
    want = mat.value_and_gradients(terms, [v.value for v in served.trainable_variables])
    for ours, theirs in names.items():
        check(found[ours], want[theirs], 1e-4)


def ascended(attack, model, x, y):
    """(start, end) of the package's inner attack on a batch."""
    x = ops.convert_to_tensor(x)
    task = Task(FrozenNet(model), Examples.of_batch(x, y, eps=attack.threat.radii(x)))
    state = attack.start(task)
    start = np.asarray(state["x"])
    for k in range(attack.steps):
        state, _ = attack.step(task, {**state, "k": ops.convert_to_tensor(k)})
    return start, np.asarray(state["x"])


@pytest.mark.parametrize("loss", [CosineDistance(), KL()])
def test_the_inner_maximum(loss):
    """Eq. 8, and that of eq. 1: two signed steps from beside x, in ball and box, with the stored statistics;
    units that training drops stay (rate 0.5 on the package's side)."""
    defense = MAT(dim=5)
    served, twin, _, _ = prepared(defense, rate=0.5)
    model = served
    if loss == KL():
        model = net(rate=0.5)
        twin = double(net())
    x, y, _ = images(5)
    attack = ASCENT.replace(threat=Linf(eps=0.05), steps=2, step_size=0.6, loss=loss)
    start, end = ascended(attack, model, x, y)
    assert 1e-4 < np.abs(start - x).max() < 0.01
    distance = mat.kl if loss == KL() else mat.cosine_distance
    want = mat.ascend(twin, distance, wide(x), wide(start), 0.05, 0.6 * 0.05, 2)
    # a slope of 0 within float32 may take either sign: a pixel in a hundred may differ
    assert np.mean(np.abs(end - want) < 1e-5) > 0.99


@pytest.mark.parametrize(
    "alpha, beta",
    [(0.0, 1.0), (5.0, 4.0), *(pytest.param(alpha, 0.0, marks=pytest.mark.slow) for alpha in (0.0, 1.0))],
)
def test_the_adaptive_attack_of_mat_ascends_the_terms_that_training_had(alpha, beta):
    """Section 4.4, for every ablation of table 4."""
    served, twin, _, mu = prepared(MAT(dim=5))
    x, y, moved = images(6)
    task = Task(FrozenNet(served), Examples.of_batch(ops.convert_to_tensor(x), y))
    loss = MATLoss(alpha=alpha, beta=beta)
    got = loss.value(task, ops.convert_to_tensor(moved), None, loss.clean_reference(task))
    want = mat.adaptive_mat(twin, wide(x), y, wide(moved), wide(mu), alpha, beta)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_adaptive_attack_of_trades_ascends_cross_entropy_and_divergence():
    """Section 4.4 for eq. 1."""
    model, (x, y, moved) = net(), images()
    task = Task(FrozenNet(model), Examples.of_batch(ops.convert_to_tensor(x), y))
    loss = TradesLoss(weight=6.0)
    z, z_adv = (Net(model).logits(v) for v in (x, moved))
    got = np.asarray(loss.value(task, ops.convert_to_tensor(moved), z_adv, z))
    want = mat.adaptive_trades(double(model), wide(x), y, wide(moved), 1 / 6)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
