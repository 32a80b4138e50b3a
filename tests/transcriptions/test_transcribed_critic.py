"""The adversary critic against a second writing of chapter 4 (critic.py).

The thesis' nets have neither batch normalisation nor dropout. Here the classifier has the first: the attack
looks at it in inference, cross-entropy in training. Dropout has the rate 0, and the critic's noise is 0.
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_adv.attacks import HighConfidence
from keras_adv.backend import Game, Net
from keras_adv.defenses import Critic
from tests.transcriptions import critic as text
from tests.transcriptions.twins import CLASSES, SHAPE, check, double, images, net, of_the_package, wide

STEPS = 3


class Scene:
    """A game with two images that the attack leaves where they were, and everything again in float64."""

    def __init__(self):
        attack = HighConfidence(steps=STEPS, overshoot=0.05, max_step=None)
        options = {"weight": 0.7, "cycle": 0.3, "penalty": 10.0, "width": 6, "noise": (0.0, 0.0)}
        self.defense = Critic(attack=attack, **options)
        self.game = Game(net(seed=2), self.defense)
        self.nets = {name: Net(player) for name, player in self.game.players.items()}
        self.model = double(self.game.predictor)
        judge = self.game.players["critic"]
        rng = np.random.default_rng(5)
        for v in judge.trainable_variables:
            v.assign(rng.normal(size=v.shape, scale=0.4))
        inputs = keras.Input(SHAPE, dtype="float64")
        v = layers.Flatten(dtype="float64")(inputs)
        for _ in range(2):
            v = layers.LeakyReLU(0.2, dtype="float64")(layers.Dense(6, dtype="float64")(v))
        self.judge = keras.Model(inputs, layers.Dense(CLASSES, dtype="float64")(v))
        self.judge.set_weights([w.numpy() for w in judge.trainable_variables])
        x, y, _ = images()
        self.given = rng.uniform(0.35, 0.9, CLASSES).astype("float32")  # as after some steps, not all 1
        self.given[1] = 0.02  # a confidence that is reached already: the attack on it stands still
        self.game.players["confidence"].means.assign(self.given)
        self.x, self.y = wide(x), y
        prepared = self.defense.prepare(self.nets, tf.constant(x), tf.constant(y), 0)
        self.batch = {"x": x, "y": y, **{k: np.asarray(v) for k, v in prepared.items()}}

    def net(self, v):
        return self.model(v, training=False)

    def critic(self, v):
        return self.judge(v)

    def confidences(self):
        return text.new_confidences(self.given, self.net(self.x))

    def found(self, number):
        with unmoved(self.game.predictor):
            return of_the_package(self.defense.moves()[number], self.nets, self.batch)


@contextlib.contextmanager
def unmoved(model):
    """Puts batch-norm statistics back: the pass of the cross-entropy moves them, the attack looks at them."""
    kept = model.get_weights()
    yield
    model.set_weights(kept)


@pytest.fixture(scope="module")
def scene():
    made = Scene()
    moved = made.batch["moved"]
    assert 0 < moved.sum() < len(moved)  # the mask matters
    return made


def test_targets_and_running_confidences(scene):
    """The class across the nearest linearised boundary; C by the predicted class, absent classes kept."""
    predicted, targets = text.closest_classes(scene.net, scene.x)
    assert predicted == list(scene.batch["source"]) and targets == list(scene.batch["target"])
    new = scene.confidences()
    np.testing.assert_allclose(scene.game.players["confidence"].means, new, rtol=1e-5)
    np.testing.assert_allclose(np.exp(scene.batch["log_c"]), np.take(new, targets), rtol=1e-5)


def test_the_unrolled_attack_step_by_step(scene):
    """Algorithm 1 as it is unrolled: after 1, 2, ... steps, with the images it has stopped for."""
    _, targets = text.closest_classes(scene.net, scene.x)
    c = np.take(scene.confidences(), targets)
    trace = []
    text.attack(scene.net, scene.x, targets, [tf.constant(v) for v in c], STEPS, trace=trace)
    for steps in range(1, STEPS + 1):
        attack = scene.defense.attack.replace(steps=steps)
        x = tf.constant(scene.batch["x"])
        ours = attack.unrolled(scene.nets["net"].logits, x, scene.batch["target"], scene.batch["log_c"])
        np.testing.assert_allclose(ours, scene.x + 1.05 * trace[steps - 1][1], rtol=2e-5, atol=2e-5)
    assert {0.0, 1.0} <= set(np.ravel([gates for gates, _ in trace]))


def spread(values, mask):
    """A list of the masked images' values, as the package writes them: (B,) with a mean that is theirs."""
    out = np.zeros(len(mask))
    out[np.flatnonzero(mask)] = np.array(values) * len(mask) / max(mask.sum(), 1)
    return out


def critics(scene, only):
    args = (scene.critic, scene.net, scene.x, scene.y, wide(scene.batch["found"]), 10.0, only)
    weights = [v.value for v in scene.judge.trainable_variables]
    return text.value_and_gradients(lambda: text.critic_terms(*args), weights)


def test_the_critics_loss_over_all_images(scene):
    """Eq. 4.3, sign turned, over every attacked image, as the authors' code has it for the critic."""
    found, want = scene.found(0), critics(scene, list(range(len(scene.y))))
    check(found["real"], want["real"], 2e-5)
    check(found["fake"], want["fake"], 2e-5)
    (clean, of_clean), (other, of_other) = want["clean penalty"], want["adversarial penalty"]
    slopes = [None if a is None else a + b for a, b in zip(of_clean, of_other, strict=True)]
    check(found["penalty"], (clean + other, slopes), 2e-5)


def classifiers(scene):
    _, targets = text.closest_classes(scene.net, scene.x)
    args = (scene.net, scene.critic, scene.x, scene.y, targets, np.take(scene.confidences(), targets))
    fit = {"fit": lambda v: scene.model(v, training=True), "clean_detached": False}
    weights = [v.value for v in scene.model.trainable_variables]
    with unmoved(scene.model):
        return text.value_and_gradients(lambda: text.classifier_terms(*args, 0.7, 0.3, STEPS, **fit), weights)


def test_the_classifiers_loss_and_its_gradient_through_the_attack(scene):
    """Eq. 4.4, sign turned, and eq. 4.5, squared; the confidence of the way back learns too."""
    found, want = scene.found(1), classifiers(scene)
    check(found["cross_entropy"], want["ce"], 2e-5)
    for ours, theirs in (("fooling", "gan"), ("cycle", "cycle")):
        values, slopes = want[theirs]
        check(found[ours], (spread(values, scene.batch["moved"]), slopes), 1e-4)


def test_the_first_epoch(scene):
    """Cross-entropy and a decay of the matrices, not of biases, batch normalisation or the last layer."""
    move = scene.defense.phases(3)[0].moves[0]
    weights = [v.value for v in scene.model.trainable_variables]
    matrices = [w for w in weights if len(w.shape) > 1]
    with unmoved(scene.model), unmoved(scene.game.predictor):
        found = of_the_package(move, scene.nets, scene.batch)
        want = text.value_and_gradients(
            lambda: text.pretraining_terms(
                lambda v: scene.model(v, training=True), scene.x, scene.y, matrices
            ),
            weights,
        )
    check(found["cross_entropy"], want["ce"])
    np.testing.assert_allclose(found["decay"][0], want["decay"][0][0], rtol=1e-5)
    for a, b in zip(found["decay"][1], want["decay"][1], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-5)
