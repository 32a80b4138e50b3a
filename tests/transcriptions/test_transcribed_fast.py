"""Fast adversarial training against a second writing of its paper (fast.py), on a net with batch norm."""

import numpy as np
import pytest
from keras import ops

from keras_adv import noise
from keras_adv.backend import Game, Net
from keras_adv.defenses import Fast
from keras_adv.optimizers import SGD
from keras_adv.threats import Linf
from tests.transcriptions import fast
from tests.transcriptions.mat import value_and_gradients
from tests.transcriptions.twins import (
    check,
    descend,
    double,
    images,
    net,
    of_the_package,
    same_statistics,
    statistics,
    wide,
)

SEED, EPS = 7, 0.2


def tensors(*arrays):
    return tuple(map(ops.convert_to_tensor, arrays))


def drawn(x):
    """The package's own numbers for algorithm 3's uniform delta."""
    seeds = noise.seeds(SEED, ops.arange(len(x)))
    return EPS * (2 * wide(noise.uniform(seeds, x.shape[1:])) - 1)


@pytest.mark.parametrize("step, rate", [(0.5, 0.5), (1.25, 0.0), (2.0, 0.5)])
def test_the_images_are_those_of_one_step_from_the_drawn_start(step, rate):
    """With the gradient of the loss at that start, by the stored statistics and with all units, of which
    training drops some (`rate`, on the package's side); and nothing that the net stores moves."""
    model, (x, y, _) = net(rate=rate), images(6)
    before = statistics(model)
    defense = Fast(threat=Linf(eps=EPS), step=step)
    found = np.asarray(defense.prepare({"net": Net(model)}, *tensors(x, y), SEED)["adversarial"])
    want = fast.adversarial(double(net()), wide(x), y, drawn(x), EPS, step * EPS)
    np.testing.assert_allclose(found, want, atol=1e-6)
    np.testing.assert_array_equal(statistics(model), before)


def test_the_scene_tells_the_steps_from_one_another():
    """Some starts lie outside of the box, some pixels end on the ball and some on the box, some inside both;
    and some slopes have another sign at x than at the start."""
    twin, (x, y, _) = double(net()), images(4)
    x, delta = wide(x), drawn(x)
    assert ((x + delta < 0) | (x + delta > 1)).any()
    moved = fast.adversarial(twin, x, y, delta, EPS, 1.25 * EPS)
    on_the_box = (moved == 0) | (moved == 1)
    on_the_ball = np.isclose(np.abs(moved - x), EPS)
    assert on_the_box.any() and on_the_ball.any() and not (on_the_box | on_the_ball).all()
    zero = np.zeros_like(x)
    signs = [
        [np.sign(fast.slope(twin, *row)) for row in zip(x, y, start, strict=True)] for start in (zero, delta)
    ]
    assert (np.stack(signs[0]) != np.stack(signs[1])).sum() >= 3


def test_the_loss_and_its_gradients():
    """Of the adversarial images alone, in training mode, whose statistics batch normalisation then stores."""
    model, (x, y, moved) = net(), images()
    twin = double(model)
    batch = {"x": x, "y": y, "adversarial": moved}
    found = of_the_package(Fast().moves()[0], {"net": Net(model)}, batch)
    assert list(found) == ["adversarial"]
    want = value_and_gradients(
        lambda: {"loss": fast.losses(twin, wide(moved), y)}, [v.value for v in twin.trainable_variables]
    )
    check(found["adversarial"], want["loss"])
    same_statistics(model, twin)


def test_a_whole_step_of_algorithm_3():
    """Images of the weights before the step, then one update; plain descent, so that it is seen as it is."""
    rate, (x, y, _) = 0.5, images(6)
    defense = Fast(threat=Linf(eps=EPS), optimizer=SGD(learning_rate=rate, momentum=0.0))
    game = Game(net(), defense)
    twin = double(game.predictor)
    game.compile_moves(defense.moves(), 1, 1)
    nets, (xs, ys) = {"net": Net(game.predictor)}, tensors(x, y)
    batch = {"x": xs, "y": ys, **defense.prepare(nets, xs, ys, SEED)}
    for move in defense.moves():
        game.make_move(move, nets, batch)

    moved = fast.adversarial(twin, wide(x), y, drawn(x), EPS, 1.25 * EPS)
    weights = [v.value for v in twin.trainable_variables]
    _, gradients = value_and_gradients(lambda: {"loss": fast.losses(twin, moved, y)}, weights)["loss"]
    descend(twin, gradients, rate)
    for mine, theirs in zip(game.predictor.trainable_variables, twin.trainable_variables, strict=True):
        np.testing.assert_allclose(mine.value, theirs.value, rtol=1e-5, atol=2e-6)
    same_statistics(game.predictor, twin)
