"""The engine: three moves fit, the order counts, and a resumed run is the same run."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import fit, noise
from keras_adv.attacks import PGD
from keras_adv.backend import Game
from keras_adv.defenses import Defense, Move
from keras_adv.losses import cross_entropy, pick
from keras_adv.models import MLP
from keras_adv.optimizers import SGD, Adam
from keras_adv.threats import Linf


class ThreeMoves(Defense):
    """Adversarial feature desensitisation, small: classify, discriminate, desensitise (AFD, Algorithm 1)."""

    name, kind, optimizer = "three", "defense", SGD(learning_rate=0.1)

    def networks(self, net):
        inputs = keras.Input((net.get_layer("features").output.shape[-1],))
        self.__dict__["encoder"] = keras.Model(net.inputs, net.get_layer("features").output)
        judge = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Dense(16, "relu")(inputs)))
        return {"encoder": self.encoder, "judge": judge}

    def prepare(self, nets, x, y, seed):
        seeds = noise.seeds(seed, ops.arange(ops.shape(x)[0]))
        attack = PGD(threat=Linf(eps=0.1), steps=3)
        return {"x_adv": attack.perturb(nets["net"].frozen.logits, x, ops.cast(y, "int32"), seeds)}

    def moves(self):
        small = SGD(learning_rate=0.02)
        return (
            Move("net", ("net",), self.optimizer, ("classify",), self.classify_clean),
            Move("judge", ("judge",), Adam(), ("discriminate",), self.discriminate),
            Move("encoder", ("encoder",), small, ("desensitise",), self.desensitise),
        )

    def classify_clean(self, nets, batch):
        return {
            "classify": cross_entropy(nets["net"].logits(batch["x"], mode="training"), batch["y"])
        }

    def discriminate(self, nets, batch):
        encode = nets["encoder"].frozen
        real, fake = (pick(nets["judge"](encode(batch[k])), batch["y"]) for k in ("x", "x_adv"))
        return {"discriminate": ops.softplus(-real) + ops.softplus(fake)}

    def desensitise(self, nets, batch):
        score = pick(nets["judge"](nets["encoder"](batch["x_adv"])), batch["y"])
        return {"desensitise": ops.softplus(-score)}


@pytest.fixture
def small(digits):
    return MLP(units=(24,)).build(digits.shape, digits.classes)


def test_three_moves_two_of_them_on_the_same_weights(small, digits):
    game = Game(small, ThreeMoves())
    game.compile_moves(game.defense.moves(), 10, 1)
    first = game.train_on_batch(digits.train[0][:50], digits.train[1][:50], return_dict=True)
    assert float(first["discriminate"]) == pytest.approx(2 * np.log(2), rel=0.5)
    history = game.fit(*digits.train, batch_size=50, epochs=8, verbose=0, validation_data=digits.validation)
    assert history.history["classify"][-1] < 0.5 * history.history["classify"][0]
    assert history.history["val_accuracy"][-1] > 0.7
    assert len(game.optimizers) == 3  # own momentum for each player, though two learn the encoder


def test_a_move_sees_what_the_one_before_it_changed(small, digits):
    seen = []

    class Order(ThreeMoves):
        def networks(self, net):
            return {}

        def prepare(self, nets, x, y, seed):
            return {}

        def moves(self):
            one = self.classify("a", loss=lambda n, b: {"a": self.value(n, b)})
            return (one, self.classify("b", loss=lambda n, b: {"b": self.value(n, b)}))

        def value(self, nets, batch):
            return cross_entropy(nets["net"].logits(batch["x"]), batch["y"])

    game = Game(small, Order())
    game.compile_moves(game.defense.moves(), 10, 1)
    seen = game.train_on_batch(digits.train[0][:50], digits.train[1][:50], return_dict=True)
    assert float(seen["b"]) < float(seen["a"])


def test_metrics_are_means_over_the_epoch_and_start_anew(small, digits):
    game = Game(small, ThreeMoves())
    game.compile_moves(game.defense.moves(), 10, 1)
    rows = game.fit(*digits.train, batch_size=100, epochs=2, verbose=0, shuffle=False).history["classify"]
    assert rows[1] < rows[0]
    assert set(game.evaluate(*digits.test, verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_divergence_is_an_error_that_says_what_to_do(small, digits):
    wild = "standard(optimizer=sgd(learning_rate=1e30))"
    with pytest.raises(FloatingPointError, match="Lower the learning rate"):
        fit.defend(small, wild, *digits.train, epochs=3, verbose=0)


def test_statistics_that_a_pass_moves_carry_no_gradient_into_the_next():
    """With momentum 0 the mean of a normalised output would not depend on the layer before it at all."""
    inputs = keras.Input((2, 2, 1))
    h = keras.layers.Dense(3, use_bias=False)(keras.layers.Flatten()(inputs))
    net = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.0, scale=False)(h))

    class Twice(ThreeMoves):
        def networks(self, net):
            return {}

        def prepare(self, nets, x, y, seed):
            return {}

        def moves(self):
            return (Move("net", ("net",), SGD(learning_rate=1.0, momentum=0.0), ("a", "b"), self.both),)

        def both(self, nets, batch):
            first = nets["net"].logits(batch["x"], mode="training")
            return {"a": 0.0 * first[:, 0], "b": nets["net"].logits(batch["x"])[:, 0]}

    x = np.random.default_rng(0).random((40, 2, 2, 1)).astype("float32")
    game = Game(net, Twice())
    game.compile_moves(game.defense.moves(), 1, 1)
    old = np.array(net.layers[2].kernel)
    game.train_on_batch(x, np.zeros(40, "int32"))
    deviation = np.sqrt((x.reshape(40, 4) @ old).var(0) + 1e-3)
    slope = np.outer(x.reshape(40, 4).mean(0), [1, 0, 0]) / deviation
    np.testing.assert_allclose(old - np.array(net.layers[2].kernel), slope, rtol=1e-3, atol=1e-5)
