import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import noise, registry
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import KL
from keras_adv.backend import Game, Net, value_and_grad
from keras_adv.defenses.trades import Trades
from keras_adv.losses import cross_entropy, kl_divergence
from keras_adv.optimizers import SGD
from keras_adv.threats import L1, L2, Linf
from keras_adv.validate import InvalidInput


def softmax(z):
    e = np.exp(z.astype("float64") - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def craft(defense, model, x, y, seed=3):
    nets = {"net": Net(model)}
    made = defense.prepare(nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), seed)
    return np.asarray(made["adversarial"])


def climber(**options):
    return PGD(
        **{
            "threat": Linf(eps=0.1),
            "steps": 5,
            "random_start": False,
            "jitter": 0.001,
            "loss": "kl",
            **options,
        }
    )


@pytest.fixture
def random_net():
    """Batch normalisation and dropout, which tell training mode from inference."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization(momentum=0.5)(keras.layers.Flatten()(inputs))
    x = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(30, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(5)(x))


def test_loss_is_the_formula_in_numpy(linear, grey):
    model, w, b = linear
    x, y = grey
    moved = np.clip(x + 0.1 * np.random.default_rng(0).normal(size=x.shape), 0, 1).astype("float32")
    batch = {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y), "adversarial": moved}
    terms = Trades(weight=6.0).moves()[0].loss({"net": Net(model)}, batch)
    p, q = (softmax(v.reshape(len(v), -1) @ w + b) for v in (x, moved))
    np.testing.assert_allclose(terms["cross_entropy"], -np.log(p[np.arange(len(y)), y]), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(terms["kl"], 6 * (p * np.log(p / q)).sum(1), rtol=1e-3, atol=1e-4)


def test_kl_has_its_laws_and_is_what_the_attack_ascends():
    rng = np.random.default_rng(0)
    z, other = (rng.normal(size=(50, 4)).astype("float32") * 3 for _ in range(2))
    got = np.asarray(kl_divergence(z, other))
    assert (got > 0).all() and np.abs(got - np.asarray(kl_divergence(other, z))).max() > 0.1
    np.testing.assert_allclose(kl_divergence(z, z + 5.0), np.zeros(50), atol=1e-5)
    np.testing.assert_allclose(got, KL().value(None, None, other, z), rtol=1e-6)
    sure = ops.convert_to_tensor([[300.0, 0.0, -300.0]])
    value, _, g = value_and_grad(lambda v: (kl_divergence(v, sure[:, ::-1]), None), sure)
    assert float(value[0]) == pytest.approx(600.0) and np.isfinite(np.asarray(g)).all()


@pytest.mark.parametrize("attack", [climber(), climber(threat=L2(eps=0.5)), climber(threat=L1(eps=2.0))])
def test_the_attack_raises_the_kl_inside_the_ball_around_x(attack, net, digits):
    x, y = (part[:40] for part in digits.train)
    images = craft(Trades(attack=attack), net, x, y)
    assert (np.asarray(attack.threat.norm(images - x)) <= attack.threat.eps + 1e-6).all()
    assert images.min() >= 0 and images.max() <= 1
    kl = lambda v: np.asarray(kl_divergence(Net(net).logits(x), Net(net).logits(v)))  # noqa: E731
    seeds = noise.seeds(5, ops.arange(40))
    assert kl(images).mean() > 2 * kl(attack.threat.sample(ops.convert_to_tensor(x), seeds)).mean() > 0


def test_it_starts_at_a_tiny_gaussian_around_x(linear, grey):
    model, _, _ = linear
    x, y = grey
    short = Trades(attack=climber(step_size=1e-7))
    moved = craft(short, model, x, y) - x
    assert moved.std() == pytest.approx(1e-3, rel=0.05) and abs(moved.mean()) < 1e-4
    kurtosis = (moved**4).mean() / (moved**2).mean() ** 2
    assert kurtosis == pytest.approx(3.0, rel=0.15)  # a uniform start has 1.8
    assert np.abs(craft(short, model, x, y, seed=4) - x - moved).max() > 1e-3
    wide = Trades(attack=climber(step_size=1e-7, random_start=True, jitter=0.0))
    assert (craft(wide, model, x, y) - x).std() == pytest.approx(0.1 / np.sqrt(3), rel=0.05)


def test_a_linf_step_follows_the_sign_of_the_kl_gradient(linear, grey):
    """From x + n, one step of eps: by hand, grad_x' KL = W (q - p), far from 0 once n is not tiny."""
    model, w, b = linear
    x, y = grey
    defense = Trades(attack=climber(steps=1, step_size=0.5, jitter=0.03))
    seeds = noise.seeds(3, ops.arange(len(x)))
    drawn = np.asarray(noise.normal(noise.fold(seeds, 1), x.shape[1:]))
    start = np.clip(x + np.clip(0.03 * drawn, -0.1, 0.1), 0, 1)
    p, q = (softmax(v.reshape(len(v), -1) @ w + b) for v in (x, start))
    slope = ((q - p) @ w.T).reshape(x.shape)
    want = np.clip(x + np.clip(start + 0.05 * np.sign(slope) - x, -0.1, 0.1), 0, 1)
    sure = np.abs(slope) > 1e-4
    assert sure.mean() > 0.8
    np.testing.assert_allclose(craft(defense, model, x, y)[sure], want[sure], atol=1e-5)


def test_crafting_is_in_inference_mode_and_the_loss_moves_the_statistics_once(random_net, grey):
    x, y = grey
    state = [np.array(v) for v in random_net.non_trainable_variables]
    one = craft(Trades(), random_net, x[:1], y[:1])
    np.testing.assert_allclose(craft(Trades(), random_net, x, y)[:1], one, atol=1e-6)  # no coupling
    for before, v in zip(state, random_net.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(before, v)
    game = Game(random_net, Trades(statistics="clean", optimizer=SGD(learning_rate=0.0001)))
    game.compile_moves(game.defense.moves(), 1, 1)
    game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
    mean = next(v for v in random_net.non_trainable_variables if "moving_mean" in v.path)
    np.testing.assert_allclose(mean, 0.5 * x.reshape(len(x), -1).mean(0), atol=1e-5)  # the clean images'


def test_gradient_flows_through_both_predictions(smooth):
    rng = np.random.default_rng(0)
    x, moved = (ops.convert_to_tensor(rng.random((8, 4, 4, 1)).astype("float32")) for _ in range(2))
    y = ops.convert_to_tensor(rng.integers(0, 3, 8).astype("int32"))
    net, batch = Net(smooth), {"x": x, "y": y, "adversarial": moved}
    loss = Trades(weight=6.0).moves()[0].loss

    def total(values):
        terms = loss({"net": net.with_values(values)}, batch)
        return terms["cross_entropy"] + terms["kl"], None

    _, _, slopes = value_and_grad(total, net.values)
    weights = [np.array(v) for v in net.values]
    direction = [rng.normal(size=w.shape).astype("float32") for w in weights]
    at = lambda t: [w + t * d for w, d in zip(weights, direction, strict=True)]  # noqa: E731
    ends = [np.asarray(total(at(t))[0], "float64").sum() for t in (2e-3, -2e-3)]
    want = sum((np.asarray(g) * d).sum() for g, d in zip(slopes, direction, strict=True))
    assert (ends[0] - ends[1]) / 4e-3 == pytest.approx(want, rel=0.01)

    def part(values, first, second):
        z, other = (
            net.with_values(v).logits(image) for v, image in ((first(values), x), (second(values), moved))
        )
        return cross_entropy(net.with_values(values).logits(x), y) + 6 * kl_divergence(z, other), None

    stop = lambda v: [ops.stop_gradient(w) for w in v]  # noqa: E731
    same = lambda v: v  # noqa: E731
    for first, second in ((stop, same), (same, stop)):
        held = value_and_grad(lambda v, f=first, s=second: part(v, f, s), net.values)[2]
        apart = [np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(held, slopes, strict=True)]
        assert max(apart) > 1e-3


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"attack": PGD(random_start=False)}, "attack.loss"),
        ({"attack": climber(restarts=2)}, "attack.restarts"),
        ({"attack": climber(jitter=0.0)}, "attack.jitter"),
    ],
)
def test_bad_options_are_refused(options, word):
    with pytest.raises(InvalidInput, match=word):
        Trades(**options)


def test_presets_are_the_papers():
    settings = (("trades_mnist", 0.3, 0.01, 40, 1), ("trades_cifar", 0.031, 0.007, 10, 6))
    for name, eps, step, steps, beta in settings:
        made = registry.parse("defense", name)
        assert (made.attack.threat.eps, made.attack.steps, made.weight) == (eps, steps, beta)
        assert made.attack.step_length * eps == pytest.approx(step)
