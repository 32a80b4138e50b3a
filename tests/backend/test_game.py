"""The engine: three moves fit, the order counts, and an author's mistake is named."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, noise
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
        return {"classify": cross_entropy(nets["net"].logits(batch["x"], mode="training"), batch["y"])}

    def discriminate(self, nets, batch):
        encode = nets["encoder"].frozen
        real, fake = (pick(nets["judge"](encode(batch[k])), batch["y"]) for k in ("x", "x_adv"))
        return {"discriminate": ops.softplus(-real) + ops.softplus(fake)}

    def desensitise(self, nets, batch):
        score = pick(nets["judge"](nets["encoder"](batch["x_adv"])), batch["y"])
        return {"desensitise": ops.softplus(-score)}


def test_three_moves_two_of_them_on_the_same_weights(digits):
    game = Game(MLP(units=(24,)).build(digits.shape, digits.classes), ThreeMoves())
    game.compile_moves(game.defense.moves(), 10, 1)
    x, y = digits.train
    history = game.fit(x, y, batch_size=50, epochs=5, verbose=0, validation_data=digits.validation).history
    assert history["discriminate"][0] == pytest.approx(2 * np.log(2), rel=0.5)
    assert history["classify"][-1] < 0.5 * history["classify"][0]  # metrics start anew each epoch
    assert history["val_accuracy"][-1] > 0.7
    assert len(game.optimizers) == 3  # own momentum for each player, though two learn the encoder
    assert set(game.evaluate(*digits.test, verbose=0, return_dict=True)) == {"loss", "accuracy"}


class Own(Defense):
    """A defense of somebody else: one move with this loss."""

    name, kind, optimizer = "own", "defense", SGD(learning_rate=0.1)

    def __init__(self, loss, terms=("a",), learns=("net",)):
        self.__dict__.update(loss=loss, terms=terms, learned=learns)

    def moves(self):
        return (Move("net", self.learned, self.optimizer, self.terms, self.loss),)


def fitting(mode="training"):
    """The loss of plain training, with the pass in this mode."""
    return lambda nets, batch: {"a": cross_entropy(nets["net"].logits(batch["x"], mode=mode), batch["y"])}


def batch_norm_net():
    inputs = keras.Input((2, 2, 1))
    h = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(h))


RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 2, 2, 1)).astype("float32"), (np.arange(40) % 3).astype("int32")
MISTAKES = {
    "declared, not returned": (Own(fitting(), terms=("a", "b")), r"returns \['a'\]; expected \['a', 'b'\]"),
    "returned, not declared": (
        Own(lambda n, b: {**fitting()(n, b), "b": ops.zeros(20)}),
        r"returns \['a', 'b'\]; expected \['a'\]",
    ),
    "a scalar": (Own(lambda n, b: {"a": ops.mean(fitting()(n, b)["a"])}), r"term 'a' has shape \(\)"),
    "other rows": (Own(lambda n, b: {"a": fitting()(n, b)["a"][:7]}), r"term 'a' has shape \(7,\)"),
    "one column": (Own(lambda n, b: {"a": fitting()(n, b)["a"][:, None]}), r"term 'a' has shape \(.*, 1\)"),
    "no such network": (Own(fitting(), learns=("net", "judge")), r"learns 'judge'; expected \['net'\]"),
    "statistics stand still": (Own(fitting("untracked")), r"0 passes .* expected 1"),
    "statistics move twice": (
        Own(lambda n, b: {"a": fitting()(n, b)["a"] + fitting()(n, b)["a"]}),
        r"2 passes .* expected 1",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_an_authors_mistake_is_a_sentence_that_names_the_defense(case):
    defense, words = MISTAKES[case]
    with pytest.raises(InvalidInput, match=rf"(?s)`defense` must do as it declares.*own, where .*{words}"):
        game = Game(batch_norm_net(), defense)
        game.compile_moves(defense.moves(), 2, 1)
        game.fit(X, Y, batch_size=20, verbose=0)


def test_a_net_without_statistics_may_be_trained_in_any_mode():
    inputs = keras.Input((2, 2, 1))
    net = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    game = Game(net, Own(fitting("untracked")))
    game.compile_moves(game.defense.moves(), 2, 1)
    assert np.isfinite(float(game.train_on_batch(X, Y, return_dict=True)["a"]))


def test_a_move_sees_what_the_one_before_it_changed():
    def loss(name):
        return lambda nets, batch: {name: cross_entropy(nets["net"].logits(batch["x"]), batch["y"])}

    class Order(Own):
        def moves(self):
            return tuple(self.classifier_move(name, loss=loss(name)) for name in ("a", "b"))

    game = Game(MLP(units=(8,)).build((2, 2, 1), 3), Order(None))
    game.compile_moves(game.defense.moves(), 10, 1)
    seen = game.train_on_batch(X, Y, return_dict=True)
    assert float(seen["b"]) < float(seen["a"])


def test_statistics_that_a_pass_moves_carry_no_gradient_into_the_next():
    """With momentum 0 the mean of a normalised output would not depend on the layer before it at all."""
    inputs = keras.Input((2, 2, 1))
    h = keras.layers.Dense(3, use_bias=False)(keras.layers.Flatten()(inputs))
    net = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.0, scale=False)(h))

    def both(nets, batch):
        first = nets["net"].logits(batch["x"], mode="training")
        return {"a": 0.0 * first[:, 0], "b": nets["net"].logits(batch["x"])[:, 0]}

    class Twice(Own):
        optimizer = SGD(learning_rate=1.0, momentum=0.0)

    game = Game(net, Twice(both, terms=("a", "b")))
    game.compile_moves(game.defense.moves(), 1, 1)
    old = np.array(net.layers[2].kernel)
    game.train_on_batch(X, Y)
    deviation = np.sqrt((X.reshape(40, 4) @ old).var(0) + 1e-3)
    slope = np.outer(X.reshape(40, 4).mean(0), [1, 0, 0]) / deviation
    np.testing.assert_allclose(old - np.array(net.layers[2].kernel), slope, rtol=1e-3, atol=1e-5)
