"""Whose batch-norm statistics a step of clean and adversarial images uses and keeps."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, defend, registry
from keras_adv.attacks import PGD
from keras_adv.backend import FrozenNet, Game, Net, compile
from keras_adv.defenses.crafting import STATISTICS, run_both
from keras_adv.models import WRN
from keras_adv.threats import Linf

PAIRED = ("trades", "mart", "vat", "mat", "adversarial(mix=0.5)")


@pytest.fixture
def normalised():
    """One layer of batch normalisation, whose statistics after a step are known."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.BatchNormalization(momentum=0.0, name="bn")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def images(shift):
    return np.random.default_rng(0).random((10, 6, 6, 1)).astype("float32") + shift


@pytest.mark.parametrize("statistics", STATISTICS)
def test_what_a_pair_of_passes_uses_and_keeps(normalised, statistics):
    clean, moved = images(0.0), images(1.0)
    net, layer = Net(normalised), normalised.get_layer("bn")

    def alone(x, context):
        """The logits of x, normalised by the moments of the images in `context`."""
        mean, deviation = context.reshape(-1, 36).mean(0), context.reshape(-1, 36).std(0)
        kernel, bias = normalised.layers[-1].get_weights()
        return (x.reshape(-1, 36) - mean) / np.sqrt(deviation**2 + 1e-3) @ kernel + bias

    first, second = run_both(
        net.logits, ops.convert_to_tensor(clean), ops.convert_to_tensor(moved), statistics
    )
    both = np.concatenate([clean, moved])
    contexts = (both, both) if statistics == "joint" else (clean, moved)
    np.testing.assert_allclose(first, alone(clean, contexts[0]), atol=1e-4)
    np.testing.assert_allclose(second, alone(moved, contexts[1]), atol=1e-4)
    # momentum 0: the statistics are those of the last pass that is kept
    kept = {"joint": both, "clean": clean, "each": moved}[statistics]
    np.testing.assert_allclose(layer.moving_mean, kept.reshape(-1, 36).mean(0), atol=1e-5)


@pytest.mark.parametrize("name", PAIRED)
def test_the_default_is_joint_and_others_have_names(name):
    defense = registry.parse("defense", name)
    assert defense.statistics == "joint" and defense.statistics_passes == 1
    assert defense.replace(statistics="each").statistics_passes == 2
    with pytest.raises(InvalidInput, match="`statistics` must be one of"):
        defense.replace(statistics="adversarial")


@pytest.fixture
def featured():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.BatchNormalization(momentum=0.0, name="bn")(keras.layers.Flatten()(inputs))
    x = keras.layers.Dense(6, activation="relu", name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(4)(x))


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", ["afd(attack=fgsm())", "mad(attack=fgsm())"])
def test_what_a_step_of_afd_and_of_madnet_keeps(featured, name, statistics):
    """Momentum 0: the statistics are those of the last pass that is kept."""
    defense = registry.parse("defense", name).replace(statistics=statistics)
    game = Game(featured, defense)
    game.compile_moves(defense.moves(), 1, 1)
    y = ops.convert_to_tensor(np.arange(10, dtype="int32") % 4)
    game.play(ops.convert_to_tensor(images(0.0)), y)
    mean = np.asarray(featured.get_layer("bn").moving_mean)
    clean = images(0.0)[1::2] if defense.name == "mad" else images(0.0)  # the second branch comes last
    if statistics == "clean":
        np.testing.assert_allclose(mean, clean.reshape(-1, 36).mean(0), atol=1e-5)
    else:  # FGSM moves every pixel by .1 where the box lets it
        away = np.abs(mean - clean.reshape(-1, 36).mean(0))
        assert 0.005 < away.max() <= (0.05 if statistics == "joint" else 0.1) + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trades(weight=3.0)", "adversarial(mix=0.5)"])
def test_the_net_that_is_served_is_the_one_that_was_trained(digits, name):
    """Accuracy under PGD with running statistics and with those of the batch differ by at most 3 points."""
    x, y = digits.train
    net = WRN(depth=10, width=1).build(digits.shape, digits.classes)
    served = defend(net, name, x, y, epochs=12, batch_size=100, verbose=0)
    xt, yt = digits.test
    pgd = PGD(threat=Linf(eps=0.1), steps=10)
    made = np.asarray(compile(lambda a, b: pgd(FrozenNet(served), a, b).images, served)(xt, yt))
    running, batch = (np.asarray(served(made, training=mode)).argmax(1) for mode in (False, True))
    assert (running == yt).mean() > 0.5
    assert abs((running == yt).mean() - (batch == yt).mean()) <= 0.03
