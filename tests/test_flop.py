"""FLOP by hand, by the literature, by another counter, and of what a run really plays."""

import keras
import numpy as np
import pytest

from keras_adv import registry
from keras_adv.backend import Game
from keras_adv.batches import Batches
from keras_adv.defenses import MAD, DeepFoolTraining, Standard
from keras_adv.flop import COUNTED, PASSES, forward_flop, images_an_epoch, step_flop, training_flop
from keras_adv.growth import Grow
from keras_adv.models import MLP, WRN, LeNet
from keras_adv.recipes import Recipe

L = keras.layers
LABELS = np.arange(130) % 10


def of(*layers, shape=(8, 8, 3)):
    return forward_flop(keras.Sequential([keras.Input(shape), *layers]))


def test_layers_by_hand():
    assert of(L.Flatten(), L.Dense(20, "relu"), L.Dense(5)) == 2 * (8 * 8 * 3 * 20 + 20 * 5)
    assert of(L.Conv2D(4, 3, padding="same")) == 2 * 64 * (9 * 3 * 4)
    assert of(L.Conv2D(4, 3, strides=2)) == 2 * 9 * (9 * 3 * 4)  # 3x3 positions
    assert of(L.Conv2D(6, 3, groups=3, padding="same")) == 2 * 64 * (9 * 1 * 6)
    assert of(L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")) == 2 * 64 * (9 * 3 * 2)
    assert of(L.SeparableConv2D(5, 3, padding="same")) == 2 * 64 * (9 * 3 + 3 * 5)
    assert of(L.Conv2DTranspose(4, 2, strides=2)) == 2 * 64 * (4 * 4 * 3)  # each pixel makes 2x2 of 4
    assert of(L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(), L.GlobalAveragePooling2D()) == 0


def test_a_layer_counts_wherever_and_how_often_it_stands():
    inputs, twice = keras.Input((8, 8, 3)), keras.Sequential([L.Conv2D(3, 3, padding="same")])
    net = keras.Model(inputs, L.Dense(2)(L.Flatten()(twice(twice(inputs)))))
    assert forward_flop(net) == 2 * (2 * 64 * 81 + 192 * 2)


def test_lenet_by_hand_and_smaller_images_cost_less():
    first, second = 24 * 24 * 25 * 32, 8 * 8 * 25 * 32 * 64
    assert forward_flop(LeNet().build((28, 28, 1), 10)) == 2 * (first + second + 4 * 4 * 64 * 512 + 512 * 10)
    wide = WRN(depth=10, width=1).build((16, 16, 3), 10)
    head = 2 * 64 * 10
    assert forward_flop(wide, (8, 8, 3)) - head == (forward_flop(wide) - head) / 4


@pytest.mark.parametrize(
    ("spec", "millions"),
    [
        ("resnet18()", 555.4),  # kuangliu/pytorch-cifar's, as counted for the literature
        ("wrn(depth=16, width=4)", 393),
        pytest.param("wrn(depth=28, width=10)", 5248, marks=pytest.mark.slow),  # 5.2e9, Zagoruyko's largest
        pytest.param("wrn(depth=34, width=10)", 6659, marks=pytest.mark.slow),  # TRADES'
    ],
)
def test_multiply_adds_are_those_of_the_literature(spec, millions):
    net = registry.parse("model", spec).build((32, 32, 3), 10)
    assert forward_flop(net) / 2e6 == pytest.approx(millions, rel=3e-3)


@pytest.mark.parametrize("name", ["lenet", "mlp", "nin", "resnet", "wrn"])
def test_every_kernel_of_a_network_is_in_a_layer_that_counts(name):
    net = registry.parse("model", name).build((32, 32, 3), 10)
    counted = {id(w) for layer in net.layers if isinstance(layer, COUNTED) for w in layer.weights}
    assert all(id(w) in counted for w in net.trainable_weights if len(w.shape) > 1)


def test_what_passes_cost_is_what_xla_counts():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    size, depth = 64, 6
    weights, x = [jnp.ones((size, size)) / size] * depth, jnp.ones((8 * size, size))

    def loss(weights, x):
        for w in weights:
            x = jnp.tanh(x @ w)
        return jnp.sum(jax.nn.logsumexp(x, axis=1))

    def slope(weights, x):
        return jnp.sum(jnp.square(jax.grad(loss, 1)(weights, x)))

    def count(run):
        found = jax.jit(run).lower(weights, x).compile().cost_analysis()
        return (found[0] if isinstance(found, list) else found)["flops"]

    runs = {"forward": loss, "input": jax.grad(loss, 1), "weights": jax.grad(loss), "second": jax.grad(slope)}
    forward = 2 * depth * size * x.size
    for kind, run in runs.items():  # the first layer needs no gradient by the images
        assert count(run) / forward == pytest.approx(PASSES[kind], rel=0.1), kind


def test_a_step_costs_its_passes():
    passes = {"net.forward": 1, "net.input": 5, "net.jacobian": 2, "net.weights": 1, "critic.second": 2}
    found = step_flop(passes, {"net": 100, "critic": 7}, classes=10)
    assert found == 100 * (1 + 2 * 5 + 2 * 11 + 3) + 7 * 6 * 2


def test_a_training_is_images_times_passes_and_a_warm_up_is_cheaper(fresh):
    one = forward_flop(fresh)
    plain = Recipe(defense="standard()", epochs=3, batch_size=50)
    assert training_flop(plain, fresh, LABELS, 3) == 3 * 100 * 3 * one  # two whole batches of 130 images
    assert training_flop(plain, fresh, LABELS, 2) == 2 * 100 * 3 * one  # stopped before its end
    inner = "trades(attack=pgd(threat=linf(eps=0.1), loss=kl(), steps=4, jitter=0.001))"
    trades = plain.replace(defense=inner)
    assert (
        training_flop(trades, fresh, LABELS, 1) == 100 * (1 + 4 * 2 + 2 * 3) * one
    )  # the first: clean logits
    awp = plain.replace(defense=f"awp(inner={inner}, warmup=2)")
    assert training_flop(awp, fresh, LABELS, 3) == 100 * (2 * (9 + 2 * 3) + (9 + 4 * 3)) * one


def test_other_networks_count_by_their_own_size(fresh):
    recipe = Recipe(defense="critic(warmup=1)", epochs=2, batch_size=50)
    one, critic = forward_flop(fresh), 2 * (64 * 256 + 256 * 256 + 256 * 10)
    steps = recipe.defense.attack.steps
    game = (1 + 10) + 2 * steps + 6 * 2 * steps + 3 * 2
    wanted = 100 * ((1 + 3) * one + game * one + (2 * 6 + 2) * critic)
    assert training_flop(recipe, fresh, LABELS, 2) == wanted


def test_small_images_are_cheap_and_pairs_are_two(fresh):
    net = WRN(depth=10, width=1).build((16, 16, 3), 10)
    recipe = Recipe(defense="standard()", epochs=3, batch_size=130, grow=Grow(sides=(8,), until=(2,)))
    small = forward_flop(net, (8, 8, 3))
    assert training_flop(recipe, net, LABELS, 3) == 3 * 130 * (2 * small + forward_flop(net))
    pairs = Recipe(defense=MAD(jacobian=0.0), epochs=1, batch_size=50)
    assert training_flop(pairs, fresh, LABELS, 1) == 3 * 200 * forward_flop(fresh)


@pytest.mark.parametrize(
    "defense",
    [
        *(Standard(), MAD(), DeepFoolTraining()),
        pytest.param(DeepFoolTraining(clean=False), marks=pytest.mark.slow),
    ],
)
def test_images_of_an_epoch_are_those_that_its_batches_have(defense, digits, linear):
    x, y = digits.train[0][:130], LABELS % 5
    images, labels = defense.replace(**_quick(defense)).extend_data(linear[0], x, y)
    batches = Batches((images, labels), 50, 0, rows=defense.batch_rows(labels))
    seen = sum(len(batches[number][0]) for number in range(len(batches)))
    assert images_an_epoch(Recipe(defense=defense, batch_size=50), y) == seen


def _quick(defense):
    return {"attack": defense.attack.replace(steps=1)} if isinstance(defense, DeepFoolTraining) else {}


@pytest.mark.parametrize("name", list(registry.registered("defense")))
def test_every_defense_can_be_counted(name, digits):
    defense = registry.parse("defense", name)
    net = defense.adapt_model(MLP(units=(16,), dropout=0.5)).build(digits.shape, digits.classes)
    game = Game(net, defense)
    recipe = Recipe(defense=defense, epochs=3, batch_size=50)
    counts = [training_flop(recipe, game.predictor, LABELS, epochs) for epochs in (1, 3)]
    assert counts[0] >= images_an_epoch(recipe, LABELS) * 3 * forward_flop(game.predictor)
    assert counts[1] >= 3 * counts[0] if recipe.defense.phases(3)[0].until == 3 else counts[1] > counts[0]
