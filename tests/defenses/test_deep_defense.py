import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import fit, registry
from keras_adv.attacks import FGSM
from keras_adv.backend import Game, Net, jacobian, value_and_grad
from keras_adv.defenses import Standard
from keras_adv.defenses.deep_defense import CAP, DeepDefense, MeanImage
from keras_adv.losses import pick, predicted_class
from keras_adv.models import MLP
from keras_adv.optimizers import SGD, Adam
from keras_adv.threats import Linf
from keras_adv.validate import InvalidInput


def terms(defense, model, x, y):
    game = Game(model, defense)
    nets = {name: Net(player) for name, player in game.players.items()}
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    batch = {"x": x, "y": y, **defense.prepare(nets, x, y, ops.cast(1, "uint32"))}
    return {k: np.asarray(v) for k, v in defense.moves()[0].loss(nets, batch).items()}


def perturbation(defense, model, x, y):
    delta, correct = defense.perturbation(Net(model), ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    return np.asarray(delta), np.asarray(correct)


def lengths(delta):
    return np.sqrt((delta.astype("float64") ** 2).sum((1, 2, 3)))


@pytest.mark.parametrize("candidates", [None, 2, 4])
@pytest.mark.parametrize("overshoot", [0.02, 0.0])
def test_delta_of_an_affine_classifier_is_the_distance_to_the_nearest_boundary(
    candidates, overshoot, linear, grey
):
    model, w, b = linear
    x, y = grey
    defense = DeepDefense(steps=4, candidates=candidates, overshoot=overshoot)
    delta, correct = perturbation(defense, model, x, y)
    assert correct.all()
    z = x.reshape(len(x), -1) @ w + b
    for i, size in enumerate(lengths(delta)):
        others = np.argsort(-np.where(np.arange(5) == y[i], -np.inf, z[i]))[: candidates or 4]
        want = min((z[i, y[i]] - z[i, j]) / np.linalg.norm(w[:, j] - w[:, y[i]]) for j in others)
        assert size == pytest.approx((1 + overshoot) * want, rel=1e-3)


@pytest.mark.slow
def test_a_wrong_image_goes_to_its_own_class_and_no_other(linear, grey):
    model, w, b = linear
    x, guess = grey
    y = ((guess + 1) % 5).astype("int32")
    one, correct = perturbation(DeepDefense(steps=1), model, x, y)
    assert not correct.any()
    z = x.reshape(len(x), -1) @ w + b
    for i, size in enumerate(lengths(one)):
        want = (z[i, guess[i]] - z[i, y[i]]) / np.linalg.norm(w[:, guess[i]] - w[:, y[i]])
        assert size == pytest.approx(1.02 * want, rel=1e-3)
    there, _ = perturbation(DeepDefense(steps=12), model, x, y)
    assert (model.predict(x + there, verbose=0).argmax(1) == y).all()


def test_an_image_that_has_arrived_stops_whatever_the_others_do(net, digits):
    x, y = digits.train[0][:30], digits.train[1][:30].copy()
    y[::3] = (y[::3] + 1) % 10
    deltas = [perturbation(DeepDefense(steps=n), net, x, y)[0] for n in (1, 2, 3)]
    correct = np.asarray(predicted_class(Net(net).logits(x))) == y
    for before, after in itertools.pairwise(deltas):
        arrived = (np.asarray(predicted_class(Net(net).logits(x + before))) == y) != correct
        assert arrived.any() and not arrived.all()
        np.testing.assert_array_equal(before[arrived], after[arrived])
        assert (lengths(after - before)[~arrived] > 0).all()
    alone = perturbation(DeepDefense(steps=3), net, x[4:5], y[4:5])[0]
    np.testing.assert_allclose(alone, deltas[2][4:5], atol=1e-5)


def all_of_the_jacobian(net, x, y, steps):
    """Delta with every class differentiated twice, as the paper writes it."""
    r, first = ops.zeros_like(x), None
    for _ in range(steps):
        z, jac = jacobian(net.logits, x + r)
        guess = predicted_class(z)
        first = guess if first is None else first
        there = predicted_class(net.logits(x + 1.02 * r))
        size = ops.sum(ops.square(jac - pick(jac, y)[:, None]), axis=(2, 3, 4))
        far = ops.abs(z - pick(z, y)[:, None]) / ops.sqrt(ops.maximum(size, 1e-12))
        near = ops.argmin(ops.where(ops.one_hot(y, z.shape[1], dtype="bool"), 1e30, far), axis=1)
        right = first == y
        source, target = ops.where(right, y, guess), ops.where(right, ops.cast(near, "int32"), y)
        f, w = pick(z, target) - pick(z, source), pick(jac, target) - pick(jac, source)
        go = ops.cast((there == y) == right, "float32") * ops.abs(f)
        go = go / ops.maximum(
            ops.sum(ops.square(w), axis=(1, 2, 3)), 1e-12
        )  # where it has arrived f and w are 0
        r = r + ops.reshape(go, (-1, 1, 1, 1)) * w
    return 1.02 * r


def test_value_and_gradient_are_those_of_the_full_jacobian(net, digits):
    x, y = digits.train[0][:12], digits.train[1][:12].copy()
    y[:4] = (y[:4] + 1) % 10
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    probe = ops.convert_to_tensor(np.random.default_rng(0).normal(size=x.shape).astype("float32"))
    ours, full = (
        value_and_grad(
            lambda values, way=way: (
                ops.sum(way(Net(net).with_values(values)) * probe, axis=(1, 2, 3)),
                None,
            ),
            w,
        )
        for w in [[ops.convert_to_tensor(v) for v in net.trainable_variables]]
        for way in (
            lambda n: DeepDefense().perturbation(n, x, y)[0],
            lambda n: all_of_the_jacobian(n, x, y, 3),
        )
    )
    np.testing.assert_allclose(ours[0], full[0], rtol=1e-3, atol=1e-4)
    for a, b in zip(ours[2], full[2], strict=True):
        scale = np.abs(np.asarray(b)).max()
        np.testing.assert_allclose(np.asarray(a) / (scale + 1e-9), np.asarray(b) / (scale + 1e-9), atol=2e-3)


def test_terms_are_those_of_equation_6(linear, grey):
    model, _, _ = linear
    x, guess = grey
    y = np.where(np.arange(len(x)) % 2, guess, (guess + 2) % 5).astype("int32")
    defense = DeepDefense(weight=3.0, c=7.0, d=2.0)
    got = terms(defense, model, x, y)
    rho = lengths(perturbation(defense, model, x, y)[0]) / lengths(x)
    np.testing.assert_allclose(got["rho"], rho, rtol=1e-4)
    want = 3.0 * np.where(guess == y, np.exp(-7.0 * rho), np.exp(2.0 * rho))
    np.testing.assert_allclose(got["fragility"], want, rtol=1e-4)


@pytest.mark.slow
def test_the_exponent_is_capped_and_a_black_or_flat_image_harmless(linear, grey):
    model, w, b = linear
    x, guess = grey
    black, y = 0 * x, ((guess + 1) % 5).astype("int32")
    got = terms(DeepDefense(weight=1.0), model, black, y)
    assert all(np.isfinite(v).all() for v in got.values())
    np.testing.assert_array_equal(got["rho"], 0)  # a black image has none
    far = terms(DeepDefense(weight=1.0, d=1e5), model, x, y)
    assert (guess != y).all() and far["rho"].min() > 1e-3
    np.testing.assert_allclose(far["fragility"], np.exp(CAP), rtol=1e-5)
    flat = keras.models.clone_model(model)
    flat.set_weights([0 * w, b])
    assert np.isfinite(terms(DeepDefense(), flat, x, y)["fragility"]).all()
    game = Game(flat, DeepDefense())
    game.compile_moves(game.defense.moves(), 1, 1)
    game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    assert all(np.isfinite(v).all() for v in flat.get_weights())


def test_with_an_attack_the_cross_entropy_is_goodfellows_and_the_rest_stays(linear, grey):
    """The paper's combined method: (1 - mix) CE(x) + mix CE(x + eps sign grad), FGSM without the box."""
    model, w, b = linear
    x, y = grey[0], grey[1].copy()
    y[::4] = (y[::4] + 1) % 5
    plain = terms(DeepDefense(steps=2), model, x, y)
    fgsm = FGSM(threat=Linf(eps=0.3, box=False))
    both = terms(DeepDefense(steps=2, attack=fgsm, mix=0.4), model, x, y)

    def probabilities(v):
        z = v.reshape(len(v), -1).astype("float64") @ w + b
        e = np.exp(z - z.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    p = probabilities(x)
    slope = (p - np.eye(5)[y]) @ w.T
    moved = probabilities(x + 0.3 * np.sign(slope).reshape(x.shape))
    rows = np.arange(len(y))
    np.testing.assert_allclose(both["cross_entropy"], 0.6 * plain["cross_entropy"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(both["adversarial"], -0.4 * np.log(moved[rows, y]), rtol=2e-3, atol=1e-4)
    for name in ("fragility", "rho", "accuracy"):
        np.testing.assert_allclose(both[name], plain[name], rtol=1e-4)
    cost = DeepDefense(steps=2, attack=fgsm).passes(5)
    assert (cost["net.weights"], cost["net.input"], cost["net.second"]) == (2, 1, 2)


def test_the_combined_preset_is_that_of_the_paper_and_adversarial_training_at_once():
    one = {name: registry.parse("recipe", name) for name in COMBINED}
    ours, alone, trained = one.values()
    assert ours.defense.replace(attack=None) == alone.defense and ours.replace(defense=alone.defense) == alone
    assert (ours.defense.attack, ours.defense.mix) == (trained.defense.attack, trained.defense.mix)
    assert (trained.model, trained.epochs, trained.defense.optimizer) == (
        alone.model, alone.epochs, alone.defense.optimizer,
    )  # fmt: skip
    fixed = registry.parse("recipe", "deepfool_training_mnist")
    assert fixed.replace(defense=alone.defense) == alone
    assert fixed.defense.optimizer == alone.defense.optimizer and not fixed.defense.attack.threat.box


COMBINED = ("deep_defense_mnist_fgsm", "deep_defense_mnist", "adversarial_mnist_finetune")


@pytest.mark.parametrize("name", ["attention", "featur"])
def test_a_name_that_no_layer_has_is_refused(name, fresh):
    with pytest.raises(InvalidInput, match="regularised"):
        Game(fresh, DeepDefense(regularised=(name,)))


class Held(keras.layers.Layer):
    """A layer in an attribute."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x, training=None):
        return self.inner(x, training=training)


@pytest.fixture(params=["model", "attribute"])
def normed(request):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    inner = keras.Sequential([keras.Input((16,)), keras.layers.BatchNormalization()])
    if request.param == "attribute":
        inner = Held(inner)
    x = keras.layers.Dense(8, activation="relu")(inner(keras.layers.Flatten()(inputs)))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def test_scales_that_are_held_are_not_decayed_either(normed):
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 30).astype("int32")
    inner = normed.layers[2]
    norm = getattr(inner, "inner", inner).layers[-1]
    before = norm.get_weights()
    for held in (True, False):
        game = Game(normed, DeepDefense(freeze_norm=held, optimizer=SGD(weight_decay=0.5)))
        game.compile_moves(game.defense.moves(), 1, 1)
        game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
        same = [np.array_equal(a, b) for a, b in zip(before[:2], norm.get_weights()[:2], strict=True)]
        assert all(same) == held


def test_units_are_dropped_though_batch_normalisation_is_held():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    hidden = keras.layers.BatchNormalization()(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dropout(0.5, seed=1)(hidden)))
    model.layers[2].moving_mean.assign(np.full(16, 0.3, "float32"))
    net, x = Net(model), ops.convert_to_tensor(np.random.default_rng(0).random((64, 4, 4, 1), "float32"))
    still, dropped = np.asarray(net.logits(x)), np.asarray(net.logits(x, mode="stored"))
    assert (still != dropped).any(1).mean() > 0.9
    # half of the units, twice as large: the mean over many images is that of inference
    np.testing.assert_allclose(dropped.mean(0), still.mean(0), atol=0.2)
    model.layers[3].rate = 0.0
    np.testing.assert_allclose(net.logits(x, mode="stored"), still, atol=1e-5)
    assert np.abs(np.asarray(net.logits(x, mode="untracked")) - still).max() > 0.1
    assert len(model.trainable_variables) == 4


@pytest.mark.parametrize("paper", [True, False])
def test_batch_normalisation_is_held_as_in_the_paper_or_learns(paper, normed):
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 30).astype("int32")
    inner = normed.layers[2]
    norm = getattr(inner, "inner", inner).layers[-1]
    before, others = norm.get_weights(), [np.array(v) for v in normed.layers[-1].variables]
    game = Game(normed, DeepDefense(freeze_norm=paper, inference=paper))
    game.compile_moves(game.defense.moves(), 1, 1)
    game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    for old, new in zip(before, norm.get_weights(), strict=True):
        assert np.array_equal(old, new) == paper
    assert all(not np.array_equal(a, b) for a, b in zip(others, normed.layers[-1].variables, strict=True))


@pytest.mark.slow
def test_the_mean_image_is_that_of_the_training_images(digits, net):
    x, y = digits.train[0][:95], digits.train[1][:95]
    mean = Net(MeanImage(x.shape[1:]))
    for start in range(0, 95, 20):
        seen = mean(ops.convert_to_tensor(x[start : start + 20]), mode="training")
    np.testing.assert_allclose(seen, x.mean(0), atol=1e-6)
    defense = DeepDefense(preprocess="matconvnet")
    got = terms(defense, net, x, y)
    want = lengths(perturbation(defense, net, x, y)[0]) / lengths(x - x.mean(0))
    np.testing.assert_allclose(got["rho"], want, rtol=1e-4)


@pytest.mark.slow
def test_fine_tuning_moves_the_boundary_away(digits):
    x, y = (part[:150] for part in digits.test)
    net, fast = MLP(units=(40,)).build(digits.shape, digits.classes), Adam(learning_rate=3e-3)
    fit.defend(net, Standard(optimizer=fast), *digits.train, epochs=15, verbose=0)
    rho = [terms(DeepDefense(steps=3), net, x, y)["rho"].mean()]
    fit.defend(net, DeepDefense(steps=2, candidates=3, optimizer=fast), *digits.train, epochs=5, verbose=0)
    rho.append(terms(DeepDefense(steps=3), net, x, y)["rho"].mean())
    assert rho[1] > 1.1 * rho[0]  # more cross-entropy alone: 1.01
    assert (net.predict(x, verbose=0).argmax(1) == y).mean() > 0.95
