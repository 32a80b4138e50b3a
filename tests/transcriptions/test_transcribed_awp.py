"""AWP against a second writing of its paper (awp.py), on a net with batch normalisation."""

import numpy as np
import pytest
from keras import ops

from keras_adv.attacks import PGD
from keras_adv.backend import Game, Net
from keras_adv.defenses import AWP, Adversarial, Trades
from keras_adv.defenses.trades import ASCENT
from keras_adv.optimizers import SGD
from keras_adv.threats import Linf
from tests.transcriptions import awp
from tests.transcriptions.twins import check, double, images, net, of_the_package, statistics, wide

GAMMA, BETA, RATE = 0.08, 6.0, 0.5
PLAIN = SGD(learning_rate=RATE, momentum=0.0)
INNER = {
    "adversarial": Adversarial(attack=PGD(threat=Linf(eps=0.1), steps=2), optimizer=PLAIN),
    "trades": Trades(
        weight=BETA, statistics="clean", attack=ASCENT.replace(threat=Linf(eps=0.2), steps=2), optimizer=PLAIN
    ),
}
NAMES = {"adversarial": {"adversarial": "ce"}, "trades": {"cross_entropy": "ce", "kl": "kl"}}


class Watched(Game):
    """A game that keeps the batch of its move."""

    def make_move(self, move, nets, batch):
        self.__dict__["batch"] = {name: np.asarray(v) for name, v in batch.items()}
        return super().make_move(move, nets, batch)


class Scene:
    """What both sides say of one batch: `terms` are the transcription's, at the x' that the package made."""

    def __init__(self, inner):
        self.inner, self.defense, self.model = inner, AWP(gamma=GAMMA, inner=INNER[inner]), net()
        self.twin = double(self.model)
        x, y, _ = images(5)
        self.nets, seed = {"net": Net(self.model)}, ops.cast(5, "uint32")
        made = self.defense.prepare(self.nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), seed)
        self.batch = {"x": x, "y": y, **{name: np.asarray(v) for name, v in made.items()}}
        self.prepared = self.model.get_weights()

    def terms(self, training=True, batch=None):
        batch = batch or self.batch
        args = self.twin, wide(batch["x"]), batch["y"], wide(batch["adversarial"])
        if self.inner == "adversarial":
            return awp.at_terms(*args, training=training)
        return awp.trades_loss_terms(*args, BETA, training=training)

    def shift(self, **options):
        kept = self.twin.get_weights()
        v = awp.shift(self.twin, lambda: self.terms(**options), GAMMA)
        self.twin.set_weights(kept)
        return v


@pytest.fixture(scope="module", params=list(INNER))
def scene(request):
    return Scene(request.param)


def flat(arrays):
    return np.concatenate([np.ravel(v) for v in arrays])


def test_v_of_every_kernel_and_of_nothing_else(scene):
    """In training mode, from the loss that training lowers, at x': conv and both dense kernels."""
    want = scene.shift()
    kernels = [v for w, v in zip(scene.twin.trainable_variables, want, strict=True) if w.name == "kernel"]
    assert len(kernels) == 3 and not np.any(flat(v for v in want if v.ndim == 1))
    assert sorted(n for n in scene.batch if n.startswith("shift")) == [f"shift_{k}" for k in range(3)]
    for number, v in enumerate(kernels):
        ours = scene.batch[f"shift_{number}"]
        np.testing.assert_allclose(ours, v, rtol=0, atol=1e-5 * np.abs(v).max())
    lengths = [awp.l2(v) / awp.l2(w) for v, w in zip(kernels, weights(scene.twin), strict=True)]
    np.testing.assert_allclose(lengths, GAMMA, rtol=1e-9)
    # by the stored statistics v would be another
    inference = scene.shift(training=False)
    assert np.abs(flat(inference) - flat(want)).max() > 0.1 * np.abs(flat(want)).max()


def weights(model):
    return [w.numpy() for w in model.trainable_variables if w.name == "kernel"]


def test_to_prepare_moves_no_weight_and_no_statistics(scene):
    for ours, want in zip(scene.prepared, net().get_weights(), strict=True):
        np.testing.assert_array_equal(ours, want)


def test_the_terms_and_their_gradients_are_those_at_w_plus_v(scene):
    """v from the transcription, so that the package's own is under test here too."""
    v = scene.shift()
    found = of_the_package(scene.defense.moves()[0], scene.nets, scene.batch)
    want = awp.terms_and_gradients(scene.twin, scene.terms, v)
    at_w = awp.terms_and_gradients(scene.twin, scene.terms, [0 * step for step in v])
    for ours, theirs in NAMES[scene.inner].items():
        check(found[ours], want[theirs])
        slope, plain = flat(want[theirs][1]), flat(at_w[theirs][1])
        assert np.abs(slope - plain).max() > 0.02 * np.abs(plain).max()
    total = sum(np.mean(values) for values, _ in want.values())
    assert total > 1.02 * sum(np.mean(values) for values, _ in at_w.values())  # v raises what is lowered


def test_a_step_of_training(scene):
    """w <- (w + v) - rate grad L(w + v) - v, and statistics by one pass at w + v: of x', for TRADES of x (the
    package's choice; the authors' code moves them by x', x and x)."""
    model = net()
    game = Watched(model, scene.defense)
    game.compile_moves(game.defense.moves(), 1, 1)
    game.play(*(ops.convert_to_tensor(scene.batch[name]) for name in ("x", "y")))
    v = scene.shift(batch=game.batch)
    before = [w.numpy() for w in scene.twin.trainable_variables]
    after = awp.descend(scene.twin, lambda: scene.terms(batch=game.batch), v, RATE)
    wanted = [a - b for a, b in zip(after, before, strict=True)]
    ours = [w.numpy() - b for w, b in zip(model.trainable_variables, before, strict=True)]
    np.testing.assert_allclose(flat(ours), flat(wanted), rtol=0, atol=1e-5 * np.abs(flat(wanted)).max())
    seen = game.batch["x" if scene.inner == "trades" else "adversarial"]
    wanted = awp.statistics_after(scene.twin, v, wide(seen))
    np.testing.assert_allclose(statistics(model), wanted, rtol=1e-5, atol=1e-6)
