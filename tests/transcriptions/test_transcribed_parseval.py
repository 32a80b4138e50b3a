"""Parseval networks against a second writing of algorithm 1 (parseval.py)."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_adv import noise
from keras_adv.backend import Game
from keras_adv.defenses import Parseval
from keras_adv.optimizers import SGD
from tests.transcriptions import parseval
from tests.transcriptions.mat import cross_entropy, value_and_gradients
from tests.transcriptions.twins import descend, double, images, net, same_statistics, wide


def shapes():
    """A convolution whose window is no square, one of a pixel, and two dense layers; of either kind one has
    more outputs than inputs."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4, 4, 2))
    v = layers.BatchNormalization()(layers.Conv2D(6, (2, 3))(inputs))
    v = layers.GlobalAveragePooling2D()(layers.Conv2D(11, 1)(v))
    model = keras.Model(inputs, layers.Dense(9)(layers.Dense(5)(v)))
    rng = np.random.default_rng(3)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.6))
    return model


def tighten(defense, model, step=1):
    defense.after_step({"net": model}, noise.fold(ops.cast(0, "uint32"), step))


def moved_rows(before, after):
    """The outputs of a kernel that are not what they were: all that were drawn, for no row is tight."""
    return [o for o in range(before.shape[-1]) if (before[..., o] != after[..., o]).any()]


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("beta, share", [(0.05, 0.3), (0.3, 0.6), (0.02, 1.0)])
def test_drawn_rows_are_retracted_and_all_else_stays(beta, share, divided):
    """Kernel by kernel, by the products among the drawn rows alone. Biases, batch normalisation's scale and
    shift, and what it stores, are no matrices."""
    model = shapes()
    before = [v.numpy() for v in model.variables]
    tighten(Parseval(beta=beta, share=share, lipschitz=divided), model)
    kernels = 0
    for variable, old in zip(model.variables, before, strict=True):
        new = variable.numpy()
        if variable.name != "kernel":
            np.testing.assert_array_equal(new, old, err_msg=variable.path)
            continue
        kernels += 1
        chosen = moved_rows(old, new)
        assert len(chosen) == max(1, round(share * old.shape[-1]))
        want = parseval.projected(wide(old), chosen, beta, divided)
        np.testing.assert_allclose(new, want, rtol=1e-6, atol=1e-6, err_msg=variable.path)
        # a small beta hides little: the way itself is compared, to what float32 leaves of it
        way = want - old
        assert np.abs(way).max() > 0.3 * beta
        np.testing.assert_allclose(new - wide(old), way, rtol=0, atol=2e-5 * np.abs(way).max() + 3e-7)
    assert kernels == 4


def test_every_kernel_draws_rows_of_its_own_and_every_step_others():
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(20) for _ in range(3))])
    sets = []
    for step in (1, 2):
        before = [v.numpy() for v in model.variables if v.name == "kernel"]
        tighten(Parseval(beta=0.05), model, step)
        after = [v.numpy() for v in model.variables if v.name == "kernel"]
        sets += [tuple(moved_rows(*pair)) for pair in zip(before, after, strict=True)]
    assert len(set(sets)) == 6


def test_the_retraction_is_a_step_down_the_constraint():
    """The transcription itself: the pull is the gradient of beta / 4 |W W^T - I|^2, of tall and of wide W."""
    for shape in ((3, 5), (5, 3)):
        w = tf.constant(np.random.default_rng(0).normal(size=shape))
        with tf.GradientTape() as tape:
            tape.watch(w)
            value = parseval.constraint(w, 0.1)
        want = parseval.retraction(w.numpy().tolist(), range(len(w)), 0.1)
        np.testing.assert_allclose(w - tape.gradient(value, w), want, rtol=1e-12)


@pytest.mark.parametrize("divided", [False, True])
def test_a_whole_step_is_the_update_and_then_the_retraction(monkeypatch, divided):
    """Algorithm 1 in its order: gradient of the loss in training mode, plain descent, then the constraint on
    the weights that result. The last layer is retracted too, as Deep Defense says of its baseline ("all
    weight matrices"); algorithm 1 is for hidden layers."""
    beta, share, rate, (x, y, _) = 0.1, 0.4, 0.5, images()
    optimizer = SGD(learning_rate=rate, momentum=0.0)
    game = Game(net(), Parseval(beta=beta, share=share, lipschitz=divided, optimizer=optimizer))
    model, untouched = game.predictor, []
    twin, after_step = double(model), Parseval.after_step

    def watched(self, players, seed):
        untouched.extend(players["net"].get_weights())
        after_step(self, players, seed)

    monkeypatch.setattr(Parseval, "after_step", watched)
    game.compile_moves(game.defense.moves(), 1, 1)
    game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))

    def losses():
        z = twin(wide(x), training=True)
        return {"loss": [cross_entropy(z[i], y[i]) for i in range(len(y))]}

    weights = [v.value for v in twin.trainable_variables]
    _, gradients = value_and_gradients(losses, weights)["loss"]
    descend(twin, gradients, rate)
    served = [(v, old) for v, old in zip(model.weights, untouched, strict=True) if "seed" not in v.path]
    for (variable, old), theirs in zip(served, twin.weights, strict=True):
        want = theirs.numpy()
        np.testing.assert_allclose(old, want, rtol=1e-5, atol=2e-6, err_msg=variable.path)
        if variable.name == "kernel":
            chosen = moved_rows(old, variable.numpy())
            assert len(chosen) == max(1, round(share * old.shape[-1]))
            want = parseval.projected(want, chosen, beta, divided)
        np.testing.assert_allclose(variable, want, rtol=1e-5, atol=3e-6, err_msg=variable.path)
    same_statistics(model, twin)
