import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.attacks import PGD
from keras_adv.backend import Game, Net
from keras_adv.defenses import Adversarial
from keras_adv.defenses.awp import AWP
from keras_adv.defenses.mart import Mart
from keras_adv.defenses.trades import Trades
from keras_adv.models import MLP
from keras_adv.optimizers import SGD
from keras_adv.threats import Linf
from keras_adv.validate import InvalidInput

PLAIN = SGD(learning_rate=1.0, momentum=0.0)
STILL = Adversarial(attack=PGD(threat=Linf(eps=0.0), steps=1), optimizer=PLAIN)
SHORT = PGD(threat=Linf(eps=0.1), steps=2)


@pytest.fixture
def mlp(digits):
    return MLP(units=(30, 20)).build(digits.shape, digits.classes)


def batch_for(defense, model, x, y):
    nets = {"net": Net(model)}
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    return nets, {"x": x, "y": y, **defense.prepare(nets, x, y, 1)}


def gradient(x, y, w, b):
    """Of the mean cross-entropy of softmax regression, by W and b, in NumPy."""
    x = x.reshape(len(x), -1).astype("float64")
    z = x @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return x.T @ p / len(x), p.mean(0)


def test_a_step_on_softmax_regression_is_the_formula_in_numpy(linear, grey):
    model, w, b = linear
    x, _ = grey
    y = np.random.default_rng(1).integers(0, 5, len(x)).astype("int32")
    game = Game(model, AWP(gamma=0.3, inner=STILL))
    game.compile_moves(game.defense.moves(), 1, 1)
    game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    stepped = model.get_weights()
    model.set_weights([w, b])
    slope, _ = gradient(x, y, w, b)
    worst = 0.3 * np.linalg.norm(w) * slope / np.linalg.norm(slope)  # the bias is not perturbed
    by_w, by_b = gradient(x, y, w + worst, b)
    assert np.abs(by_w - slope).max() > 0.05  # far from the plain gradient
    np.testing.assert_allclose(w - stepped[0], by_w, atol=2e-5)
    np.testing.assert_allclose(b - stepped[1], by_b, atol=2e-5)


def test_every_kernel_moves_by_gamma_of_its_norm_and_nothing_else_does(mlp, digits):
    x, y = (part[:30] for part in digits.train)
    _, batch = batch_for(AWP(gamma=0.01, inner=Adversarial(attack=SHORT)), mlp, x, y)
    shifts = [np.asarray(batch[f"shift_{number}"]) for number in range(3)]
    kernels = [w for w in mlp.get_weights() if w.ndim > 1]
    assert "shift_3" not in batch and len(kernels) == 3
    for shift, kernel in zip(shifts, kernels, strict=True):
        assert shift.shape == kernel.shape
        assert np.linalg.norm(shift) == pytest.approx(0.01 * np.linalg.norm(kernel), rel=1e-4)


INNERS = [Adversarial(attack=SHORT), Trades(), Mart(attack=SHORT)]


@pytest.mark.parametrize("inner", INNERS, ids=lambda d: d.name)
def test_the_perturbation_raises_the_loss_of_the_inner_defense(inner, mlp, digits):
    x, y = (part[:60] for part in digits.train)
    defense = AWP(gamma=0.05, inner=inner)
    nets, batch = batch_for(defense, mlp, x, y)
    total = lambda d: float(np.mean(sum(map(np.asarray, d.moves()[0].loss(nets, batch).values()))))  # noqa: E731
    assert total(defense) > 1.05 * total(inner)
    assert defense.moves()[0].terms == inner.moves()[0].terms


@pytest.mark.parametrize("inner", INNERS, ids=lambda d: d.name)
def test_without_gamma_it_is_the_inner_defense(inner, mlp, digits):
    x, y = (part[:30] for part in digits.train)
    defense = AWP(gamma=0.0, inner=inner)
    nets, batch = batch_for(defense, mlp, x, y)
    assert not np.asarray(batch["shift_0"]).any()
    ours, plain = (d.moves()[0].loss(nets, batch) for d in (defense, inner))
    for name in plain:
        np.testing.assert_allclose(ours[name], plain[name], atol=1e-6)


def test_the_pass_for_the_perturbation_keeps_no_statistics():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    hidden = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 20).astype("int32")
    mean = next(v for v in model.non_trainable_variables if "moving_mean" in v.path)
    nets, batch = batch_for(AWP(inner=STILL), model, x, y)
    np.testing.assert_array_equal(mean, np.zeros(64))
    AWP(inner=STILL).moves()[0].loss(nets, batch)
    np.testing.assert_allclose(mean, 0.5 * x.reshape(20, -1).mean(0), atol=1e-5)  # the pass at w + v: once


def test_warmup_is_the_inner_defense_and_the_optimizer_is_its():
    paper = registry.parse("defense", "awp_cifar_trades")
    first, second = paper.phases(200)
    assert (first.until, second.until) == (9, 200)
    assert first.moves[0] == paper.inner.moves()[0]
    assert second.moves[0].optimizer == paper.optimizer == paper.inner.optimizer
    assert [p.until for p in AWP(warmup=5).phases(5)] == [5] and len(AWP().phases(5)) == 1


def test_passes_and_adaptive_attack_are_those_of_the_inner_defense():
    inner = Trades()
    assert AWP(inner=inner).passes(10) == {**inner.passes(10), "net.weights": 4}
    assert AWP(inner=inner).adaptive_attack("linf(eps=0.1)") == inner.adaptive_attack("linf(eps=0.1)")
    with pytest.raises(InvalidInput, match="inner"):
        AWP(inner=registry.parse("defense", "standard()"))
