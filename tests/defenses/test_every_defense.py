"""Laws of every registered defense."""

import functools
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import short_runs
from keras import ops
from one_step import CLASSES, EPS, IMAGES, MOMENTUM, OLD_MEAN, X, Y, one_step, quick, snapshot
from sampled import sampled
from short_runs import FORMS, NAMES, short_run

from keras_adv import fit, noise, registry
from keras_adv.backend import Game, Net
from keras_adv.callbacks import Checkpoint
from keras_adv.defenses.discriminator import SpectralDense
from keras_adv.models import MLP
from keras_adv.optimizers import SGD

STEPPED = sampled(
    [*NAMES, *FORMS],
    *(*NAMES, "adversarial(mix=0.5)", "afd(penalty=1.0, attack=fgsm())", "awp(inner=trades())"),
    "mad(attack=pgd(threat=linf(eps=0.1), steps=2))",
)


def moves(defense):
    return [move for phase in defense.phases(3) for move in phase.moves]


@pytest.mark.parametrize("spec", STEPPED)
def test_terms_are_named_finite_and_one_for_each_image(spec):
    for move, terms, _ in one_step(spec).seen:
        assert set(terms) == {*move.terms, *move.monitors}
        for term in terms.values():
            assert term.shape == (IMAGES,) and np.isfinite(term).all()


@pytest.mark.parametrize("spec", STEPPED)
def test_each_move_changes_only_what_it_learns(spec):
    game, seen, _ = one_step(spec)
    for move, _, changed in seen:
        held = set()
        if getattr(game.defense, "freeze_norm", False):
            held = {id(v) for v in game.predictor.trainable_variables if "seen/" in v.path}
        assert changed == {id(v) for v in game.variables_of(move)} - held


@pytest.mark.parametrize("spec", STEPPED)
def test_statistics_of_batch_normalisation_move_as_declared(spec):
    """Each pass that counts draws the running mean a tenth of the way to the mean of its images."""
    step, batch = one_step(spec), float(X.mean())
    declared = step.game.defense.statistics_passes
    kept = MOMENTUM**declared
    for mean in step.means:
        want = kept * OLD_MEAN + (1 - kept) * batch
        assert mean == pytest.approx(want, abs=(1 - kept) * EPS + 1e-6)
        other = MOMENTUM ** (declared + 1)
        assert abs(other * OLD_MEAN + (1 - other) * batch - want) > 2 * (1 - other) * EPS  # told apart


HELD = {
    ("critic", 2): "its stopping rule is straight-through",
    ("vat", 0): "p(x) is a constant of its divergence",
    ("distilled", 0): "without a teacher the net is its own, and nothing has a gradient",
}
"""Moves whose gradient is by design not that of their value, or 0."""
CASES = [(name, number) for name in NAMES for number in range(len(moves(registry.parse("defense", name))))]
DERIVED = [case for case in CASES if case not in HELD]
DERIVATIVES = (
    "margin(weight=0.3)",
    "margin(weight=0.3, threat=linf())",
    "margin(weight=0.3, squared=False)",
    "deep_defense(weight=0.5, c=2.0, d=0.5)",
    "deep_defense(weight=0.5, c=2.0, d=0.5, steps=1)",
    "deep_defense(weight=0.5, c=2.0, d=0.5, candidates=1, steps=5)",
    "mad(jacobian=0.3)",
    "mad(jacobian=0.3, projections=None, jacobian_of='softmax', rvl='repo', squared=True)",
    "mad(jacobian=0.3, projections=3, jacobian_of='embedding', rvl='sum')",
    "mad(jacobian=0.3, mix=0.3, attack=fgsm())",
    "deep_defense(weight=0.5, c=2.0, d=0.5, mix=0.3, attack=fgsm())",
    "double_backprop(weight=1.0)",
    "double_backprop(weight=1.0, of='logits')",
)
"""Other forms of defenses with one move, whose derivative is another formula or has another weight."""


@pytest.mark.parametrize(
    ("name", "number"),
    sampled([*DERIVED, *((form, 0) for form in DERIVATIVES)], *DERIVED, ("mad(jacobian=0.3)", 0)),
)
def test_gradient_of_every_move_equals_finite_differences(name, number, smooth):
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.random((12, 4, 4, 1)).astype("float32"))
    y = ops.convert_to_tensor((np.arange(12) % 3).astype("int32"))
    start = smooth.get_weights()
    keras.utils.set_random_seed(3)  # at these weights no kink of the critic lies between the two points
    game = Game(smooth, registry.parse("defense", name))
    move = moves(game.defense)[number]._replace(optimizer=SGD(learning_rate=1.0, momentum=0.0))
    game.compile_moves((move,), 1, 1)
    learned = game.variables_of(move)

    def prepared(x, y):
        nets = {name: Net(player) for name, player in game.players.items()}
        seed = noise.fold(ops.cast(0, "uint32"), 1)
        batch = {"x": x, "y": y, **game.defense.prepare(nets, x, y, seed)}
        return {key: ops.stop_gradient(value) for key, value in batch.items()}

    def nets():
        made = {name: Net(player) for name, player in game.players.items()}
        for net in made.values():
            net.set_stream_position(64)
        return made

    def moved(batch):
        game.make_move(move, nets(), batch)
        return [snapshot(v) for v in learned]

    def means(batch):
        terms = move.loss(nets(), batch)
        return [ops.mean(terms[term]) for term in move.terms]

    batch = {key: ops.convert_to_tensor(np.asarray(v)) for key, v in quick(prepared, game)(x, y).items()}
    look = quick(means, game)
    for layer in game._flatten_layers():
        if isinstance(layer, SpectralDense):
            # its vectors are constants of the gradient, which holds where the power method is at rest
            layer.u.assign(np.linalg.svd(np.asarray(snapshot(layer.kernel)))[2][0])
    kept = [np.asarray(snapshot(v)) for v in game.variables]
    old = [np.asarray(snapshot(v)) for v in learned]
    gradient = [a - np.asarray(b) for a, b in zip(old, quick(moved, game)(batch), strict=True)]
    direction = [g + np.abs(g).max() * rng.normal(size=g.shape).astype("float32") for g in gradient]
    size = np.sqrt(sum(np.square(d).sum() for d in direction))
    direction = [d / size for d in direction]

    def total(t):
        for v, value in zip(game.variables, kept, strict=True):  # running means, clocks: as they were
            v.assign(value)
        for v, w, d in zip(learned, old, direction, strict=True):
            v.assign(w + t * d)
        return sum(float(term) for term in look(batch))

    want = sum(float((g * d).sum()) for g, d in zip(gradient, direction, strict=True))
    # where an attack in the loss stops a step earlier or later it jumps: between two points, not two pairs
    slopes = [(total(step) - total(-step)) / (2 * step) for step in (2e-3, 5e-4)]
    slope = min(slopes, key=lambda one: abs(one - want))
    smooth.set_weights(start)
    assert slope == pytest.approx(want, rel=0.03, abs=2e-4)


RUNS = sampled(NAMES, "adversarial", "margin", "standard")
"""One of each kind of step is trained every time; of another head: `test_mmc.py`."""


@pytest.mark.parametrize("name", RUNS)
def test_loss_falls(name):
    run = short_run(name)
    assert run.after < 0.7 * run.before


@pytest.mark.parametrize("name", RUNS)
def test_predictor_is_a_plain_keras_model(name, digits, tmp_path):
    served = short_run(name).served
    served.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = digits.test[0][:20]
    np.testing.assert_allclose(loaded(x, training=False), served(x, training=False), atol=1e-6)
    assert loaded.count_params() == served.count_params() < 70000
    names = {layer.name for layer in loaded.layers}
    extra = set(registry.parse("defense", name).networks(served)) - {"net", "encoder"}
    assert not names & extra and not [v for v in loaded.variables if "adam" in v.path]


ON_BOTH = [(name, False) for name in NAMES if name != "dropout"]
"""Without dropout, whose streams are Keras' own and differ between backends."""
ON_CONVOLUTIONS = [("adversarial", True), ("critic", True), ("margin", True)]


def on_both(cases):
    """(defense, whether on LeNet) -> terms of the first 20 steps, on TensorFlow and on JAX."""
    if keras.config.backend() != "tensorflow":
        pytest.skip("the run on TensorFlow compares with JAX")
    pytest.importorskip("jax")
    env = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, short_runs.__file__, json.dumps(cases)]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        # while the other runs
        ours = [short_run(name, convolved=convolved).rows for name, convolved in cases]
        printed = other.communicate()[0]
    assert other.returncode == 0
    theirs = json.loads(printed.splitlines()[-1])
    return dict(zip(cases, zip(ours, theirs, strict=True), strict=True))


def agree(ours, theirs):
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert set(a) == set(b)
        for term, value in a.items():
            assert value == pytest.approx(b[term], rel=2e-3 * (1 + step / 2), abs=1e-5), (step, term)


@pytest.mark.slow
@pytest.mark.parametrize("cases", [ON_BOTH, ON_CONVOLUTIONS], ids=["dense", "convolutions"])
def test_both_backends_see_the_same_losses(cases):
    for ours, theirs in on_both(cases).values():
        agree(ours, theirs)


@functools.cache
def weights_after_plain_steps(spec):
    """The weights of a small net that three steps of plain SGD lead to."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    hidden = keras.layers.Dense(12, activation="relu", name="features")(keras.layers.Flatten()(inputs))
    net = keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))
    defense = registry.with_values(registry.parse("defense", spec), {"optimizer": SGD()})
    game = Game(net, defense)
    game.compile_moves(defense.moves(), 10, 1)
    for rows in np.split(np.arange(IMAGES), 3):
        game.train_on_batch(X[rows], Y[rows])
    return net.get_weights()


WITHOUT_WEIGHT = (
    "adversarial(attack=pgd(threat=linf(eps=0.0)))",
    "deep_defense(weight=0.0, steps=1)",
    "ibp(weight=0.0)",
    "margin(weight=0.0, loss='cross_entropy')",
    "nuat(weight=0.0)",
    "vat(weight=0.0)",
)


@pytest.mark.parametrize("spec", WITHOUT_WEIGHT)
def test_without_its_weight_a_defense_is_plain_training(spec):
    ours, plain = weights_after_plain_steps(spec), weights_after_plain_steps("standard")
    for a, b in zip(ours, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


STATES = {
    "standard": "one optimizer",
    "critic(width=16, attack=high_confidence(steps=1))": "two players, means of classes, two phases",
    "fast": "the best weights so far",
    "dropout": "random streams",
    "afd(attack=fgsm())": "the vectors of the power method, three players",
}
"""What a resumed run must find again."""
ALWAYS = [spec for spec in STATES if spec.startswith(("standard", "dropout"))]
RESUMED = sampled([*STATES, *(name for name in NAMES if name not in STATES)], *ALWAYS)


class Interrupted(Checkpoint):
    """Also leaves in another folder what a run killed after its first epoch would have left."""

    def __init__(self, folder, left):
        super().__init__(folder)
        self.left = left

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if epoch == 0:
            shutil.copytree(self.folder, self.left)


@pytest.mark.parametrize("spec", RESUMED)
def test_a_resumed_run_is_the_same_run(spec, tmp_path):
    rng = np.random.default_rng(1)
    x, y = rng.random((60, 4, 4, 1)).astype("float32"), (np.arange(60) % CLASSES).astype("int32")

    def run(saver):
        net = registry.parse("defense", spec).adapt_model(MLP(units=(24,))).build((4, 4, 1), CLASSES)
        served = fit.defend(net, spec, x, y, epochs=3, batch_size=20, callbacks=[saver], verbose=0)
        return served.get_weights()

    whole = run(Interrupted(tmp_path / "whole", tmp_path / "parts"))
    parts = run(Checkpoint(tmp_path / "parts"))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    if keras.config.backend() == "tensorflow" and not same(whole, parts):
        assert not same(whole, run(Checkpoint(tmp_path / "again"))), (
            "this machine adds up the same way twice, the resumed run does not"
        )


def same(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
