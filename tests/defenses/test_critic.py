import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.backend import Game, Net, value_and_grad
from keras_adv.defenses.base import masked_term
from keras_adv.defenses.critic import ClassMeans, Critic
from keras_adv.layers import Noise
from keras_adv.losses import predicted_class


@pytest.fixture
def scene(net, digits):
    """A trained net with its critic, and a prepared batch."""
    game = Game(net, Critic(noise=(0.0, 0.0), width=32))
    nets = {name: Net(player) for name, player in game.players.items()}
    x, y = (ops.convert_to_tensor(part[:60]) for part in digits.train)
    batch = game.defense.prepare(nets, x, y, 0)
    return game, nets, {"x": x, "y": y, **batch}


def test_class_means_follow_the_batch_and_keep_absent_classes():
    means = Net(ClassMeans(3, decay=0.5, initial=1.0))
    values = ops.convert_to_tensor([0.2, 0.4, 0.8])
    got = means(values, ops.convert_to_tensor([0, 0, 2]), mode="training")
    np.testing.assert_allclose(got, [0.65, 1.0, 0.9], rtol=1e-6)
    got = means(values, ops.convert_to_tensor([1, 1, 1]), mode="training")
    np.testing.assert_allclose(got, [0.65, 0.5 + 1.4 / 6, 0.9], rtol=1e-6)
    means(values, ops.convert_to_tensor([0, 0, 0]))  # without update nothing stays
    np.testing.assert_allclose(means.model.means, [0.65, 0.5 + 1.4 / 6, 0.9], rtol=1e-6)


def test_target_is_the_class_across_the_nearest_linear_boundary(linear, grey):
    model, w, b = linear
    x, y = grey
    game = Game(model, Critic(width=8))
    nets = {name: Net(player) for name, player in game.players.items()}
    batch = game.defense.prepare(nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), 0)
    z = x.reshape(len(x), -1) @ w + b
    for i in range(len(x)):
        far = [
            np.inf if j == y[i] else (z[i, y[i]] - z[i, j]) / np.linalg.norm(w[:, y[i]] - w[:, j])
            for j in range(5)
        ]
        assert int(batch["target"][i]) == int(np.argmin(far))
    np.testing.assert_array_equal(batch["source"], y)


def test_attack_mostly_lands_on_its_target_with_the_confidence_of_that_class(scene, net):
    _, _, batch = scene
    landed = np.asarray(batch["landed"])
    assert (landed == np.asarray(batch["target"])).mean() > 0.8
    np.testing.assert_array_equal(landed, predicted_class(Net(net).logits(batch["found"])))
    p = np.asarray(ops.max(ops.softmax(Net(net).logits(batch["found"])), axis=1))
    assert np.median(p) > 0.5


def test_penalty_is_zero_for_a_critic_of_unit_slope(digits):
    game = Game(
        keras.Sequential([keras.Input(digits.shape), keras.layers.Flatten(), keras.layers.Dense(10)]),
        Critic(),
    )
    inputs = keras.Input(digits.shape)
    unit = keras.Model(inputs, keras.layers.Dense(10, use_bias=False)(keras.layers.Flatten()(inputs)))
    unit.set_weights([np.eye(64, 10, dtype="float32")])
    x, y = (ops.convert_to_tensor(part[:20]) for part in digits.train)
    batch = {"x": x, "y": y, "found": x * 0.5, "landed": y, "moved": ops.ones(20)}
    terms = game.defense._judge({"critic": Net(unit)}, batch)
    np.testing.assert_allclose(terms["penalty"], 0, atol=1e-6)


def test_cycle_is_zero_where_the_attack_stands_still(scene):
    game, nets, batch = scene
    still = {**batch, "found": batch["x"], "moved": ops.ones(60)}
    np.testing.assert_allclose(game.defense._classifier_loss(nets, still)["cycle"], 0, atol=1e-6)


def test_the_classifiers_terms_of_the_attack_count_only_moved_images_and_an_empty_mask_is_safe(scene):
    game, nets, batch = scene
    none = {**batch, "moved": ops.zeros(60)}
    terms = game.defense._classifier_loss(nets, none)
    for name in ("fooling", "cycle"):
        np.testing.assert_array_equal(terms[name], np.zeros(60))
    assert (np.asarray(game.defense._judge(nets, none)["fake"]) > 0).all()  # the critic sees every image
    mask, term = (
        ops.convert_to_tensor([1.0, 0.0, 1.0, 0.0]),
        ops.convert_to_tensor([2.0, np.nan, 4.0, np.inf]),
    )
    assert float(ops.mean(masked_term(mask, term))) == pytest.approx(3.0)


def test_the_classifier_learns_through_the_attack(scene):
    """d fooling / d weights flows only through x^, so it is zero exactly when the attack is detached."""
    game, nets, batch = scene
    x, target, log_c = batch["x"], batch["target"], batch["log_c"]
    scale = ops.convert_to_tensor(np.ones((60, 1), "float32"))

    def fooling(s, live):
        logits = lambda v: nets["net"].logits(v) * s  # noqa: E731  s stands for a weight
        found = game.defense.attack.unrolled(logits, x, target, log_c)
        found = found if live else ops.stop_gradient(found)
        return ops.sum(nets["critic"].logits(found), axis=1), 0

    live = np.asarray(value_and_grad(lambda s: fooling(s, True), scale)[2])
    dead = np.asarray(value_and_grad(lambda s: fooling(s, False), scale)[2])
    assert np.abs(live).max() > 1e-4 and np.abs(dead).max() == 0


def test_noise_layer_is_always_on_fresh_and_has_its_deviation():
    layer = Noise(0.5)
    x = np.zeros((200, 50), "float32")
    first, second = np.asarray(layer(x)), np.asarray(layer(x))
    assert np.abs(first - second).max() > 0.1 and first.std() == pytest.approx(0.5, rel=0.02)
    assert keras.layers.deserialize(keras.layers.serialize(layer)).stddev == 0.5


def test_presets_are_the_two_nets_of_the_thesis():
    mlp, lenet = (registry.parse("recipe", name) for name in ("critic_mnist", "critic_mnist_lenet"))
    assert (mlp.defense.weight, lenet.defense.weight) == (0.5, 0.1)
    assert mlp.replace(defense=lenet.defense, model=lenet.model) == lenet
    assert (mlp.model.name, lenet.model.form) == ("mlp", "thesis")
    assert (mlp.epochs, mlp.batch_size, mlp.defense.cycle, mlp.defense.penalty) == (100, 100, 0.01, 10.0)


def test_warmup_comes_first_and_shares_the_classifiers_optimizer(net):
    critic = Critic(warmup=2)
    first, second = critic.phases(10)
    assert (first.until, second.until) == (2, 10)
    assert first.moves[0].name == second.moves[1].name == "net"
    assert [p.until for p in critic.phases(2)] == [2]
    assert [p.until for p in Critic(warmup=0).phases(5)] == [5]
