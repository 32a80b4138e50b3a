"""Laws of every registered defense."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import fit, noise, registry
from keras_adv.backend import Game, Net
from keras_adv.callbacks import Checkpoint
from keras_adv.losses import cross_entropy
from keras_adv.models import MLP, LeNet
from keras_adv.optimizers import SGD

NAMES = list(registry.registered("defense"))


def game_for(spec, digits, model=None):
    defense = registry.parse("defense", spec)
    net = defense.adapt_model(model or LeNet()).build(digits.shape, digits.classes)
    return Game(net, defense)


def prepared(game, digits, n=24):
    x, y = (ops.convert_to_tensor(part[:n]) for part in digits.train)
    return batch_of(game, x, y)


def batch_of(game, x, y):
    """(nets, batch) as the first step of `game` sees them."""
    nets = {name: Net(player) for name, player in game.players.items()}
    seed = noise.fold(ops.cast(0, "uint32"), 1)
    batch = {"x": x, "y": y, **game.defense.prepare(nets, x, y, seed)}
    for net in nets.values():
        net.set_clock(64)
    return nets, batch


def moves(defense):
    return [move for phase in defense.phases(3) for move in phase.moves]


CASES = [(name, number) for name in NAMES for number in range(len(moves(registry.parse("defense", name))))]


@pytest.mark.parametrize("name", NAMES)
def test_terms_are_named_finite_and_one_for_each_image(name, digits):
    game = game_for(name, digits)
    nets, batch = prepared(game, digits)
    for move in moves(game.defense):
        terms = move.loss(nets, batch)
        assert tuple(terms) == (*move.terms, *move.monitors)
        for term in terms.values():
            assert term.shape == (24,) and np.isfinite(np.asarray(term)).all()


@pytest.mark.parametrize(("name", "number"), CASES)
def test_each_move_changes_only_what_it_learns(name, number, digits):
    game = game_for(name, digits)
    move = moves(game.defense)[number]
    game.compile_moves((move,), 10, 1)
    learned = {id(v) for v in game.variables_of(move)}
    every = {id(v): v for player in game.players.values() for v in player.trainable_variables}
    before = {key: np.array(v) for key, v in every.items()}
    game.train_on_batch(digits.train[0][:40], digits.train[1][:40])
    changed = {key for key, v in every.items() if not np.array_equal(before[key], np.array(v))}
    assert changed == learned


HELD = {
    ("critic", 2): "its stopping rule is straight-through",
    ("vat", 0): "p(x) is a constant of its divergence",
}
"""Moves whose gradient is by design not that of their value."""
FORMS = (
    "margin(weight=0.3)",
    "margin(weight=0.3, threat=linf())",
    "margin(weight=0.3, squared=False)",
    "deep_defense(weight=0.5, c=2.0, d=0.5)",
    "deep_defense(weight=0.5, c=2.0, d=0.5, steps=1)",
    "deep_defense(weight=0.5, c=2.0, d=0.5, candidates=1, steps=5)",
    "mad(jacobian=0.3)",
    "mad(jacobian=0.3, projections=None, jacobian_of='softmax', rvl='repo', squared=True)",
    "mad(jacobian=0.3, projections=3, jacobian_of='embedding', rvl='sum')",
    "double_backprop(weight=1.0)",
    "double_backprop(weight=1.0, of='logits')",
)
"""Other forms of defenses with one move, whose derivative is another formula or has another weight."""


@pytest.mark.parametrize(
    ("name", "number"), [case for case in CASES if case not in HELD] + [(form, 0) for form in FORMS]
)
def test_gradient_of_every_move_equals_finite_differences(name, number, smooth):
    rng = np.random.default_rng(0)
    x, y = rng.random((12, 4, 4, 1)).astype("float32"), (np.arange(12) % 3).astype("int32")
    start = smooth.get_weights()
    keras.utils.set_random_seed(3)  # at these weights no kink of the critic lies between the two points
    game = Game(smooth, registry.parse("defense", name))
    move = moves(game.defense)[number]._replace(optimizer=SGD(learning_rate=1.0, momentum=0.0))
    game.compile_moves((move,), 1, 1)
    learned = game.variables_of(move)
    old = [np.array(v) for v in learned]
    images, labels = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    if "judge" in game.players:
        # the vectors of its power method are constants of the gradient, which holds where they are at rest
        nets, batch = batch_of(game, images, labels)
        for _ in range(50):
            move.loss(nets, batch)
    kept = [np.array(v) for v in game.variables]
    nets, batch = batch_of(game, images, labels)
    batch = {key: ops.convert_to_tensor(np.array(value)) for key, value in batch.items()}
    for v, value in zip(game.variables, kept, strict=True):  # running means, clocks: as they were
        v.assign(value)
    game.train_on_batch(x, y)
    for net in nets.values():
        net.set_clock(64)
    gradient = [a - np.array(v) for a, v in zip(old, learned, strict=True)]
    direction = [g + np.abs(g).max() * rng.normal(size=g.shape).astype("float32") for g in gradient]
    size = np.sqrt(sum(np.square(d).sum() for d in direction))
    direction = [d / size for d in direction]

    def total(t):
        for v, w, d in zip(learned, old, direction, strict=True):
            v.assign(w + t * d)
        terms = move.loss(nets, batch)
        return sum(float(np.asarray(terms[term]).astype("float64").mean()) for term in move.terms)

    want = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    step = 2e-3
    slope = (total(step) - total(-step)) / (2 * step)
    smooth.set_weights(start)
    assert slope == pytest.approx(want, rel=0.03, abs=2e-4)


@pytest.fixture(scope="module")
def trained(digits):
    """name -> (what a defense has trained, the loss before): two laws look at the same net."""

    @functools.cache
    def make(name):
        net = registry.parse("defense", name).adapt_model(LeNet()).build(digits.shape, digits.classes)
        before = loss(net, digits)
        epochs = 6 if name == "mmc" else 3  # distances to centres of length 10 as logits take longer
        return fit.defend(net, name, *digits.train, epochs=epochs, batch_size=60, verbose=0), before

    return make


@pytest.mark.parametrize("name", NAMES)
def test_loss_falls(name, digits, trained):
    served, before = trained(name)
    assert loss(served, digits) < 0.7 * before


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
def test_predictor_is_a_plain_keras_model(name, digits, trained, tmp_path):
    served, _ = trained(name)
    served.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_allclose(loaded.predict(x, verbose=0), served.predict(x, verbose=0), atol=1e-6)
    assert loaded.count_params() == served.count_params() < 70000
    names = {layer.name for layer in loaded.layers}
    extra = set(registry.parse("defense", name).networks(served)) - {"net", "encoder"}
    assert not names & extra and not [v for v in loaded.variables if "adam" in v.path]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_same_run(name, digits, tmp_path):
    spec = {"critic": "critic(width=16)"}.get(name, name)
    x, y = (part[:600] for part in digits.train)

    def run(folder, *lengths):
        for epochs in lengths:
            design = registry.parse("defense", spec).adapt_model(MLP(units=(24,)))
            net = design.build(digits.shape, digits.classes)
            saver = Checkpoint(tmp_path / folder)
            served = fit.defend(net, spec, x, y, epochs=epochs, batch_size=200, callbacks=[saver], verbose=0)
        return served.get_weights()

    whole, parts = run("whole", 3), run("parts", 1, 3)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    if keras.config.backend() == "tensorflow" and not same(whole, parts):
        assert not same(whole, run("again", 3)), (
            "this machine adds up the same way twice, the resumed run does not"
        )


def same(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
