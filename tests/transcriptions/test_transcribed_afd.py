"""AFD against a second writing of its paper (afd.py), on a net with batch normalisation."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from sampled import sampled

from keras_adv.backend import Game, Net
from keras_adv.defenses import AFD
from keras_adv.optimizers import SGD
from tests.transcriptions import afd
from tests.transcriptions.twins import check, double, images, net, of_the_package, part, wide


class Scene:
    """A game of AFD with a judge of random weights, and everything again in float64."""

    def __init__(self, **options):
        plain = SGD(learning_rate=0.5, momentum=0.0)
        rates = {"optimizer": plain, "judge_optimizer": plain, "encoder_optimizer": plain}
        self.defense = AFD(statistics="clean", **options, **rates)
        self.game = Game(net(), self.defense)
        self.nets = {name: Net(player) for name, player in self.game.players.items()}
        self.moves = {move.name: move for move in self.defense.moves()}
        self.net = double(self.game.predictor)
        self.encoder = part(self.net)
        self.decoder = keras.Model(self.net.get_layer("features").output, self.net.output)
        x, y, moved = images(6)
        self.batch = {"x": x, "y": y, "adversarial": moved}
        self.x, self.y, self.moved = wide(x), y, wide(moved)
        self.judge = self.game.players.get("judge")
        if self.judge is not None:
            rng = np.random.default_rng(3)
            for v in self.judge.variables:  # the vectors too: sigma is then far from the largest value
                v.assign(rng.normal(size=v.shape))
            self.refresh()

    def refresh(self):
        """Reads the judge's matrices and vectors as they stand."""
        layers = [*self.judge.hidden, self.judge.score, self.judge.table]
        self.psi = [tf.Variable(wide(v.value)) for v in self.judge.trainable_variables]
        self.vectors = [wide(layer.u) for layer in layers]

    def da(self, h, y):
        """The judge of the transcription: three matrices with their biases, and the table."""
        w = [
            m / afd.singular(m, u) for m, u in zip(self.psi[0:6:2] + self.psi[6:], self.vectors, strict=True)
        ]
        dense = list(zip(w[:3], self.psi[1:6:2], strict=True))
        return [afd.judge(h[i], y[i], dense, w[3]) for i in range(len(y))]

    def found(self, name, **more):
        return of_the_package(self.moves[name], self.nets, {**self.batch, **more})

    def want(self, losses_of, weights):
        return afd.value_and_gradients(losses_of, weights)


def theta(scene):
    return [v.value for v in scene.encoder.trainable_variables]


def test_the_first_move_is_cross_entropy_of_clean_images():
    """L_EDc of algorithm 1 without its stray minus, theta and phi learning."""
    scene = Scene()
    weights = [v.value for v in scene.net.trainable_variables]
    got = scene.found("net")["cross_entropy"]
    check(
        got,
        scene.want(lambda: afd.classification(scene.encoder, scene.decoder, scene.x, scene.y), weights),
    )


@pytest.mark.parametrize("gan", sampled(["softplus", "hinge", "wasserstein"], "softplus"))
def test_the_judges_loss(gan):
    """L_Da of algorithm 1: features by the statistics of their own batch, every matrix divided by its
    singular value, through which the gradient goes; the encoder does not learn."""
    scene = Scene(gan=gan)
    want = scene.want(
        lambda: afd.judge_loss(scene.encoder, scene.da, scene.x, scene.y, scene.moved, gan), scene.psi
    )
    check(scene.found("judge")["discriminate"], want, 2e-5)


@pytest.mark.parametrize(
    ("gan", "symmetric"),
    sampled(itertools.product(["softplus", "hinge", "wasserstein"], [True, False]), ("softplus", True)),
)
def test_the_encoders_loss(gan, symmetric):
    """L_E of algorithm 1, through the judge into theta."""
    scene = Scene(gan=gan, symmetric=symmetric)
    want = scene.want(
        lambda: afd.encoder_loss(scene.encoder, scene.da, scene.x, scene.y, scene.moved, gan, symmetric),
        theta(scene),
    )
    check(scene.found("encoder")["desensitise"], want, 2e-5)


@pytest.mark.slow
def test_the_penalty_between_the_features():
    """The later paper's code: (|grad_h Da| - 1)^2 on a line between the features of x and x'."""
    scene = Scene(penalty=3.0)
    mix = np.random.default_rng(4).uniform(size=(len(scene.y), 1)).astype("float32")

    def losses():
        return [
            3.0 * p
            for p in afd.gradient_penalty(
                scene.encoder, scene.da, scene.x, scene.y, scene.moved, wide(mix)[:, 0]
            )
        ]

    found = scene.found("judge", between=mix)["penalty"]
    # the judge's loss has taken its step of the power method when the penalty takes the next, as in PyTorch
    scene.refresh()
    check(found, scene.want(losses, scene.psi), 2e-5)


def test_the_sensitivity_of_the_comparison():
    """S_e, "Adversarial vs. L2 optimization": the norm, not its square; both features learn."""
    scene = Scene(match=True, squared=False)
    want = scene.want(lambda: afd.sensitivity(scene.encoder, scene.x, scene.moved), theta(scene))
    check(scene.found("encoder")["matching"], want)


def test_a_whole_step_takes_the_moves_of_algorithm_1_in_order():
    """theta and phi, then psi, then theta by a judge and an encoder that have moved. x' is given: it belongs
    to the weights before the step. Plain gradient descent, so that the updates are seen as they are."""
    scene = Scene()
    rate, moves = 0.5, scene.defense.moves()
    scene.game.compile_moves(moves, 1, 1)
    tensors = {name: tf.convert_to_tensor(v) for name, v in scene.batch.items()}
    for move in moves:
        scene.game.make_move(move, scene.nets, tensors)
    vectors = [wide(v.u) for v in (*scene.judge.hidden, scene.judge.score, scene.judge.table)]

    def descend(losses_of, weights):
        _, slopes = afd.value_and_gradients(losses_of, weights)
        for v, g in zip(weights, slopes, strict=True):
            v.assign_sub(rate * g)

    x, y, moved = scene.x, scene.y, scene.moved
    whole = [v.value for v in scene.net.trainable_variables]
    descend(lambda: afd.classification(scene.encoder, scene.decoder, x, y), whole)
    descend(lambda: afd.judge_loss(scene.encoder, scene.da, x, y, moved), scene.psi)
    # the judge's own pass has moved its vectors by a step of the power method, on the matrices as they were
    scene.vectors = vectors
    descend(lambda: afd.encoder_loss(scene.encoder, scene.da, x, y, moved), theta(scene))
    for mine, theirs in zip(scene.game.predictor.trainable_variables, whole, strict=True):
        np.testing.assert_allclose(mine.value, theirs, rtol=1e-4, atol=2e-5)
    for mine, theirs in zip(scene.judge.trainable_variables, scene.psi, strict=True):
        np.testing.assert_allclose(mine.value, theirs, rtol=1e-4, atol=2e-5)
