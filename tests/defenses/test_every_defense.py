"""Laws of every registered defense."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import fit, noise, registry
from keras_adv.backend import Game, Net
from keras_adv.losses import cross_entropy
from keras_adv.models import MLP, LeNet

NAMES = list(registry.registered("defense"))


def game_for(spec, digits, model=None):
    defense = registry.parse("defense", spec)
    net = defense.design(model or LeNet()).build(digits.shape, digits.classes)
    return Game(net, defense)


def prepared(game, digits, n=24):
    x, y = (ops.convert_to_tensor(part[:n]) for part in digits.train)
    nets = {name: Net(player) for name, player in game.players.items()}
    seed = noise.fold(ops.cast(0, "uint32"), 1)
    return nets, {"x": x, "y": y, **game.defense.prepare(nets, x, y, seed)}


def moves(defense):
    return [move for phase in defense.phases(3) for move in phase.moves]


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_named_finite_and_one_for_each_image(name, digits):
    game = game_for(name, digits)
    nets, batch = prepared(game, digits)
    for move in moves(game.defense):
        terms = move.loss(nets, batch)
        assert tuple(terms) == move.terms
        for term in terms.values():
            assert term.shape == (24,) and np.isfinite(np.asarray(term)).all()


@pytest.mark.parametrize("name", NAMES)
def test_each_move_changes_only_what_it_learns(name, digits):
    for number in range(len(moves(registry.parse("defense", name)))):
        game = game_for(name, digits)
        move = moves(game.defense)[number]
        game.start((move,), 10, 1)
        before = {n: [np.array(v) for v in p.trainable_variables] for n, p in game.players.items()}
        game.train_on_batch(digits.train[0][:40], digits.train[1][:40])
        for player, old in before.items():
            new = [np.array(v) for v in game.players[player].trainable_variables]
            same = [np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
            assert not any(same) if player in move.learns else all(same)


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls(name, digits):
    defense = registry.parse("defense", name)
    net = defense.design(LeNet()).build(digits.shape, digits.classes)
    before = loss(net, digits)
    fit.defend(net, name, *digits.train, epochs=3, batch_size=60, verbose=0)
    assert loss(net, digits) < 0.7 * before


def loss(net, digits):
    z = net.predict(digits.test[0], verbose=0)
    return float(np.mean(np.asarray(cross_entropy(z, digits.test[1]))))


@pytest.mark.parametrize(
    "spec", ["adversarial(attack=pgd(threat=linf(eps=0.0)))", "margin(weight=0.0, loss='cross_entropy')"]
)
def test_without_its_weight_a_defense_is_plain_training(spec, digits):
    trained = []
    for one in (spec, "standard()"):
        one = registry.with_values(
            registry.parse("defense", one), {"optimizer": registry.parse("optimizer", "sgd()")}
        )
        net = MLP(units=(20,)).build(digits.shape, digits.classes)
        fit.defend(net, one, *digits.train, epochs=1, verbose=0)
        trained.append(net.get_weights())
    for ours, plain in zip(*trained, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_predictor_is_a_plain_keras_model(name, digits, tmp_path):
    net = registry.parse("defense", name).design(LeNet()).build(digits.shape, digits.classes)
    served = fit.defend(net, name, *digits.train, epochs=1, verbose=0)
    served.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_allclose(loaded.predict(x, verbose=0), served.predict(x, verbose=0), atol=1e-6)
    assert loaded.count_params() == 53002
    assert not [v for v in loaded.variables if "critic" in v.path or "adam" in v.path]
