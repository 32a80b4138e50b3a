import numpy as np
import pytest
from keras import ops

from keras_adv import fit, registry
from keras_adv.attacks import FGSM, PGD
from keras_adv.backend import Game, Net, value_and_grad
from keras_adv.defenses.afd import AFD
from keras_adv.defenses.discriminator import Discriminator, SpectralDense
from keras_adv.losses import cross_entropy
from keras_adv.models import MLP
from keras_adv.optimizers import SGD
from keras_adv.threats import Linf


@pytest.fixture
def small(digits):
    return MLP(units=(24,)).build(digits.shape, digits.classes)


def scene(spec, model, digits, n=40):
    afd = registry.parse("defense", spec)
    game = Game(model, afd)
    nets = {name: Net(player) for name, player in game.players.items()}
    x, y = (ops.convert_to_tensor(part[:n]) for part in digits.train)
    return game, nets, {"x": x, "y": y, **afd.prepare(nets, x, y, ops.cast(1, "uint32"))}


def scores(nets, batch):
    y = batch["y"]
    out = [nets["judge"](nets["encoder"](batch[k]), y) for k in ("x", "adversarial")]
    return [np.asarray(v) for v in out]


def values(found):
    return {k: np.asarray(v) for k, v in found.items()}


def spectral(layer):
    matrix = layer(np.eye(layer.kernel.shape[0], dtype="float32"))
    matrix = matrix - (0 if layer.bias is None else layer.bias)
    return np.linalg.svd(np.asarray(matrix), compute_uv=False)[0]


def layers(judge):
    return [*judge.hidden, judge.score, *([judge.table] if judge.table else [])]


# -- the discriminator ----------------------------------------------------------------------------


QUICK = PGD(threat=Linf(eps=0.1), steps=1)


@pytest.mark.slow
def test_spectral_norm_is_one_at_the_start_near_it_in_training_and_one_again_at_rest(small, digits):
    game = Game(small, AFD(attack=QUICK))
    judge = game.players["judge"]
    assert [spectral(v) for v in layers(judge)] == pytest.approx([1] * 4, rel=0.05)
    game.compile_moves(game.defense.moves(), 10, 1)
    before = np.array(judge.hidden[0].kernel)
    game.fit(*digits.train, batch_size=60, epochs=3, verbose=0)
    assert np.abs(np.array(judge.hidden[0].kernel) - before).max() > 1e-3
    assert [spectral(v) for v in layers(judge)] == pytest.approx([1] * 4, rel=0.25)
    for _ in range(40):
        Net(judge)(np.ones((1, 24), "float32"), np.zeros(1, "int32"), mode="training")
    assert [spectral(v) for v in layers(judge)] == pytest.approx([1] * 4, rel=0.05)


def test_only_a_training_call_that_updates_keeps_the_vector_and_none_writes_the_kernel():
    layer = SpectralDense(6)
    layer.build((None, 9))
    layer.kernel.assign(np.random.default_rng(0).normal(size=(9, 6)).astype("float32"))
    net, x = Net(layer), np.ones((2, 9), "float32")
    kernel, u = np.array(layer.kernel), np.array(layer.u)
    net(x), net(x, mode="untracked"), net(x, mode="inference")
    np.testing.assert_array_equal(layer.u, u)
    for _ in range(100):
        net(x, mode="training")
    assert np.abs(np.array(layer.u) - u).max() > 1e-3
    np.testing.assert_array_equal(layer.kernel, kernel)
    _, sigma, right = np.linalg.svd(kernel)
    assert abs(right[0] @ np.array(layer.u)) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(net(x), x @ kernel / sigma[0], rtol=1e-3, atol=1e-4)


def test_its_gradient_goes_through_sigma():
    """W / sigma(W) does not change along W, so the gradient has no part along W."""
    layer = SpectralDense(5, use_bias=False)
    layer.build((None, 8))
    net, rng = Net(layer), np.random.default_rng(1)
    layer.u.assign(np.linalg.svd(np.array(layer.kernel))[2][0])  # where the power method ends
    x, t = (rng.normal(size=s).astype("float32") for s in ((4, 8), (4, 5)))
    value = lambda w: (ops.sum(net.with_values(w)(x) * t, axis=1), None)  # noqa: E731
    _, _, (gradient,) = value_and_grad(value, [layer.kernel.value])
    kernel = np.array(layer.kernel)
    along = (np.array(gradient) * kernel).sum() / np.linalg.norm(kernel) / np.linalg.norm(gradient)
    assert abs(along) < 1e-3 and np.abs(x @ kernel * t).sum() > 1e-2


def test_label_free_form_ignores_labels_and_the_others_do_not():
    h = np.random.default_rng(2).normal(size=(5, 7)).astype("float32")
    for form, hidden in (("fc3_pd", 2), ("fc1_pd", 0), ("fc3", 2)):
        judge = Discriminator(7, 4, form, width=6)
        assert len(judge.hidden) == hidden
        one, two = (np.asarray(judge(h, np.full(5, c, "int32"))) for c in (0, 3))
        assert one.shape == (5,) and np.allclose(one, two) == (form == "fc3")


def test_the_shallow_form_by_hand():
    judge = Discriminator(3, 4, "fc1_pd")
    score, table = np.eye(3, 1, dtype="float32"), np.eye(4, 3, dtype="float32")
    judge.score.kernel.assign(score * 5)
    judge.table.kernel.assign(table * 0.1)
    for _ in range(50):
        Net(judge)(np.ones((1, 3), "float32"), np.zeros(1, "int32"), mode="training")
    h, y = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "float32"), np.array([1, 3], "int32")
    np.testing.assert_allclose(judge(h, y), [1 + 2, 4 + 0], rtol=1e-4)


# -- the game -------------------------------------------------------------------------------------


def test_moves_come_in_order_with_optimizers_of_their_own():
    moves = AFD().moves()
    assert [m.name for m in moves] == ["net", "judge", "encoder"]
    assert [m.learns for m in moves] == [("net",), ("judge",), ("encoder",)]
    assert moves[1].monitors == ("judge_accuracy",)
    assert [m.name for m in AFD(match=True).moves()] == ["net", "encoder"]
    assert len({id(m.optimizer) for m in moves}) == 3


def test_an_undecided_judge_costs_two_log_two(small, digits):
    game, nets, batch = scene("afd()", small, digits)
    judge = game.players["judge"]
    judge.set_weights([np.zeros_like(w) for w in judge.get_weights()])
    found = values(game.defense._judge(nets, batch))
    np.testing.assert_allclose(found["discriminate"], 2 * np.log(2), rtol=1e-5)
    assert found["judge_accuracy"].max() == 0


def test_penalty_is_zero_for_a_judge_of_unit_slope(small, digits):
    game, nets, batch = scene("afd(form='fc1_pd', penalty=7.0)", small, digits)
    judge = game.players["judge"]
    judge.table.kernel.assign(np.zeros(judge.table.kernel.shape, "float32"))
    np.testing.assert_allclose(values(game.defense._judge(nets, batch))["penalty"], 0, atol=1e-6)
    judge.score.kernel.assign(np.zeros(judge.score.kernel.shape, "float32"))
    np.testing.assert_allclose(values(game.defense._judge(nets, batch))["penalty"], 7.0, rtol=1e-5)


@pytest.mark.parametrize("squared", [True, False])
def test_matching_is_the_distance_of_the_features_and_needs_no_judge(squared, small, digits):
    game, nets, batch = scene(f"afd(match=True, squared={squared})", small, digits)
    assert set(game.players) == {"net", "encoder"}
    h = [np.asarray(nets["encoder"](batch[k])) for k in ("x", "adversarial")]
    want = ((h[0] - h[1]) ** 2).sum(1)
    found = values(game.defense._match(nets, batch))
    np.testing.assert_allclose(found["matching"], want if squared else np.sqrt(want), rtol=1e-4)


def test_the_encoders_move_is_the_gradient_of_its_loss(smooth):
    """One step of SGD against finite differences along a direction in the encoder's weights."""
    afd = AFD(encoder_optimizer=SGD(learning_rate=1.0, momentum=0.0))
    rng = np.random.default_rng(0)
    x, y = rng.random((8, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 8).astype("int32")
    game = Game(smooth, afd)
    nets = {name: Net(player) for name, player in game.players.items()}
    moved = ops.convert_to_tensor(x + 0.1 * rng.normal(size=x.shape).astype("float32"))
    batch = {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y), "adversarial": moved}
    encoder = game.players["encoder"]
    old = [w.copy() for w in encoder.get_weights()]
    game.compile_moves((afd.moves()[2],), 1, 1)
    game.make_move(afd.moves()[2], nets, batch)
    gradient = [a - b for a, b in zip(old, encoder.get_weights(), strict=True)]
    direction = [rng.normal(size=w.shape).astype("float32") for w in old]

    def total(t):
        encoder.set_weights([w + t * d for w, d in zip(old, direction, strict=True)])
        return float(np.mean(values(afd._desensitise(nets, batch))["desensitise"], dtype="float64"))

    numeric = (total(5e-3) - total(-5e-3)) / 1e-2
    encoder.set_weights(old)
    exact = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    assert exact == pytest.approx(numeric, rel=0.03, abs=1e-4)


@pytest.mark.slow
def test_the_judge_learns_to_tell_when_the_encoder_stands_still(small, digits):
    afd = AFD(attack=QUICK)
    game = Game(small, afd)
    game.compile_moves(afd.moves()[:1], 10, 1)
    game.fit(*digits.train, batch_size=60, epochs=2, verbose=0)
    game.compile_moves(afd.moves()[1:2], 10, 1)
    rows = game.fit(*digits.train, batch_size=60, epochs=4, verbose=0).history
    assert rows["judge_accuracy"][-1] > max(0.6, rows["judge_accuracy"][0])
    assert rows["discriminate"][-1] < rows["discriminate"][0]


def test_serves_the_plain_net_and_is_attacked_in_its_features(small):
    assert Game(small, AFD()).predictor is small
    assert not [v for v in small.variables if "discriminator" in v.path]
    assert "features" in [objective.name for objective in AFD().objectives()]


def test_mixed_leaves_an_image_clean_where_the_attack_does_not_fool(digits):
    """As AutoAttack's attacks, which the authors' later code trains on: also where x is wrong already."""
    x, y = digits.train[0][:60], digits.train[1][:60].copy()
    y[::5] = (y[::5] + 1) % 10
    net = MLP(units=(24,)).build(digits.shape, digits.classes, seed=1)
    fit.defend(net, "standard()", *digits.train, epochs=2, verbose=0)
    afd = AFD(attack=PGD(threat=Linf(eps=0.08), steps=3, random_start=False))
    x, y, seed = ops.convert_to_tensor(x), ops.convert_to_tensor(y), ops.cast(1, "uint32")
    nets = {"net": Net(net)}
    every = np.asarray(afd.prepare(nets, x, y, seed)["adversarial"])
    some = np.asarray(afd.replace(mixed=True).prepare(nets, x, y, seed)["adversarial"])
    right, still = (np.asarray(nets["net"].logits(v)).argmax(1) == np.asarray(y) for v in (x, every))
    taken = right & ~still
    assert taken.any() and (right & still).any() and not right.all()
    np.testing.assert_array_equal(some[taken], every[taken])
    np.testing.assert_array_equal(some[~taken], np.asarray(x)[~taken])


def test_presets_are_the_papers():
    mnist, cifar = (registry.parse("defense", name) for name in ("afd_mnist", "afd_cifar"))
    assert mnist.attack.threat == Linf(eps=0.3) and mnist.attack.steps == 40
    assert cifar.attack.step_length * 0.031 == pytest.approx(2 / 255)
    for one in (mnist, cifar):
        assert [m.optimizer.learning_rate for m in one.moves()] == [0.1, 0.1, 0.5]
        assert registry.parse("defense", repr(one)) == one
    match = registry.parse("recipe", "afd_mnist_match")
    assert [m.terms for m in match.defense.moves()] == [("cross_entropy", "matching")]
    assert match.defense.squared is False and match.defense.attack == mnist.attack
    for name, rates, epochs in (("mnist", [0.1, 0.5, 0.5], 100), ("cifar", [0.1, 0.1, 0.5], 300)):
        later = registry.parse("recipe", f"afd_{name}_later")
        assert [m.optimizer.learning_rate for m in later.defense.moves()] == rates
        assert later.defense.mixed and later.model.normalized and later.epochs == epochs
        assert later.defense.statistics == "each" and later.defense.attack.name == "apgd"


def test_matching_in_one_update_is_the_sum_of_both_losses(digits):
    """The paper's ablation: S_e is added to the classification loss, unsquared."""
    x, y = (ops.convert_to_tensor(part[:20]) for part in digits.train)
    net = MLP(units=(16,)).build(digits.shape, digits.classes, seed=1)
    afd = AFD(attack=FGSM(threat=Linf(eps=0.1)), match=True, joint=True, squared=False)
    game = Game(net, afd)
    (move,) = afd.moves()
    assert move.learns == ("net",)
    nets = {name: Net(player) for name, player in game.players.items()}
    batch = {"x": x, "y": y, **afd.prepare(nets, x, y, ops.convert_to_tensor(1, "uint32"))}
    terms = move.loss(nets, batch)
    clean, attacked = (np.asarray(nets["net"].features(v)) for v in (x, batch["adversarial"]))
    np.testing.assert_allclose(terms["matching"], np.linalg.norm(clean - attacked, axis=1), rtol=1e-4)
    np.testing.assert_allclose(terms["cross_entropy"], cross_entropy(nets["net"].logits(x), y), rtol=1e-4)
