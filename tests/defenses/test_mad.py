import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import noise, registry
from keras_adv.backend import Game, Net, compile
from keras_adv.batches import Batches
from keras_adv.defenses.clusters import cosine, spread
from keras_adv.defenses.label_smoothing import smoothed_cross_entropy
from keras_adv.defenses.mad import MAD
from keras_adv.losses import cross_entropy

SEED = noise.fold(np.uint32(0), 1)


def terms(mad, model, x, y, seed=SEED):
    nets, x, y = {"net": Net(model)}, ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    batch = {"x": x, "y": y, **mad.prepare(nets, x, y, seed)}
    found = mad.moves()[0].loss(nets, batch)
    assert tuple(found) == (*mad.moves()[0].terms, "accuracy")
    return {k: np.asarray(v) for k, v in found.items()}, {k: np.asarray(v) for k, v in batch.items()}


def of_pairs(values):
    """What both rows of a pair show: the sum over its two images."""
    return np.repeat(values[::2] + values[1::2], 2)


def spread_by_hand(z, y, form, classes=10):
    each = [z[y == c] for c in np.unique(y) if (y == c).sum() > 1]
    if form == "repo":
        return sum((v.var(0) ** 2).mean() for v in each)
    sizes = [np.linalg.norm(v - v.mean(0), axis=1).mean() for v in each]
    return sum(sizes) / classes if form == "mean" else sum(sizes)


@pytest.mark.parametrize("form", ["mean", "sum", "repo"])
def test_reduced_variance_is_the_formula_and_zero_for_identical_features(form):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(30, 7)).astype("float32"), rng.integers(0, 6, 30).astype("int32")
    y[0] = 8  # alone in its class: does not count
    got = np.asarray(spread(ops.convert_to_tensor(z), ops.convert_to_tensor(y), 10, form))
    assert got.shape == (30,) and got[0] == 0
    assert got.mean() == pytest.approx(spread_by_hand(z, y, form), rel=1e-5)
    same = spread(ops.ones((30, 7)), ops.convert_to_tensor(y), 10, form)
    np.testing.assert_allclose(same, np.zeros(30), atol=1e-6)


def test_cosine_is_zero_with_a_zero_row():
    a = ops.convert_to_tensor([[3.0, 4.0], [0.0, 0.0]])
    b = ops.convert_to_tensor([[8.0, 6.0], [1.0, 1.0]])
    np.testing.assert_allclose(cosine(a, b), [0.96, 0.0], rtol=1e-6)


def test_the_siamese_label_is_what_the_loss_compares_with(smooth):
    rng = np.random.default_rng(0)
    x, y = rng.random((20, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 20).astype("int32")
    found, _ = terms(MAD(siamese=2.0), smooth, x, y)
    z = np.asarray(Net(smooth).features_and_logits(ops.convert_to_tensor(x))[0])
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    miss = np.repeat((z[::2] * z[1::2]).sum(1) - (y[::2] == y[1::2]), 2)
    np.testing.assert_allclose(found["siamese"], 2 * np.abs(miss), rtol=1e-4, atol=1e-5)
    squared, _ = terms(MAD(siamese=2.0, squared=True), smooth, x, y)
    np.testing.assert_allclose(squared["siamese"], 2 * miss**2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", ["logits", "embedding", "softmax"])
@pytest.mark.parametrize("square", [False, True])
def test_jacobian_of_a_linear_net_is_its_weight_matrix(of, square, linear, grey):
    model, w, b = linear
    x, y = grey
    mad = MAD(jacobian=1.0, jacobian_of=of, projections=None, jacobian_squared=square)
    p = np.exp(z := x.reshape(len(x), -1) @ w + b - 20) / np.exp(z).sum(1, keepdims=True)
    inner = [(np.diag(row) - np.outer(row, row)) @ w.T for row in p]
    norm = np.array(
        [{"logits": w, "embedding": np.eye(64), "softmax": i}[of] for i in inner], dtype="float64"
    )
    norm = np.sqrt((norm**2).sum((1, 2)))
    found, _ = terms(mad, model, x, y)
    norm = norm**2 if square else norm
    np.testing.assert_allclose(found["jacobian"], of_pairs(norm), rtol=2e-3)


def test_the_jacobian_is_of_what_is_trained_and_only_kernels_decay():
    """Batch normalisation undoes the scale of a kernel before it, so the penalty must not reward a small
    one; with stored statistics it would."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    flat = keras.layers.Dense(12, use_bias=False, name="before")(keras.layers.Flatten()(inputs))
    x = keras.layers.Dense(6, name="features")(keras.layers.BatchNormalization(epsilon=1e-7)(flat))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    rng = np.random.default_rng(1)
    x, y = rng.random((20, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 20).astype("int32")
    mad = MAD(jacobian=1.0, projections=None)
    full, _ = terms(mad, model, x, y)
    kernel = model.get_layer("before").kernel
    kernel.assign(0.5 * np.asarray(kernel))
    half, _ = terms(mad, model, x, y)
    np.testing.assert_allclose(half["jacobian"], full["jacobian"], rtol=1e-3)
    assert full["jacobian"].min() > 0.1  # and nothing cancels
    left = {id(v) for v in mad.undecayed(Net(model))}
    assert [v.path for v in model.trainable_variables if id(v) not in left] == [
        v.path for v in model.trainable_variables if v.path.endswith("kernel")
    ]


def test_the_released_codes_jacobian_is_rounding_noise(linear, grey):
    model, w, _ = linear
    found, _ = terms(MAD(jacobian=1.0, jacobian_of="softmax_sum"), model, *grey)
    true, _ = terms(MAD(jacobian=1.0, jacobian_of="softmax", projections=None), model, *grey)
    assert found["jacobian"].max() < 1e-5 * np.linalg.norm(w) and np.median(true["jacobian"]) > 1e-2
    assert np.isfinite(found["jacobian"]).all()


@pytest.mark.parametrize("of", ["logits", "embedding"])
def test_the_projected_square_is_unbiased_and_its_root_a_little_small(of, linear):
    model, w, _ = linear
    x, y = np.full((3000, 8, 8, 1), 0.5, "float32"), np.arange(3000, dtype="int32") % 5
    mad = MAD(jacobian=0.5, variance=0.0, jacobian_of=of, projections=2, jacobian_squared=True)
    exact = (w**2).sum() if of == "logits" else 64.0
    found, _ = terms(mad, model, x, y)
    assert found["jacobian"].mean() == pytest.approx(exact, rel=0.04)
    root, _ = terms(mad.replace(jacobian_squared=False), model, x, y)
    assert 0.9 * np.sqrt(exact) < root["jacobian"].mean() < np.sqrt(exact)


def test_a_pair_has_the_losses_of_both_branches(smooth):
    rng = np.random.default_rng(1)
    x, y = rng.random((20, 4, 4, 1)).astype("float32"), rng.integers(0, 3, 20).astype("int32")
    found, _ = terms(MAD(variance=1.0, projections=None), smooth, x, y)
    z, logits = Net(smooth).features_and_logits(ops.convert_to_tensor(x))
    fit = np.asarray(smoothed_cross_entropy(logits, ops.convert_to_tensor(y), 0.8))
    np.testing.assert_allclose(found["cross_entropy"], of_pairs(fit), rtol=1e-5)
    twice = sum(spread_by_hand(np.asarray(z)[k::2], y[k::2], "mean", 3) for k in (0, 1))
    assert found["variance"].mean() == pytest.approx(twice, rel=1e-4)


def test_each_branch_is_normalised_by_its_own_images():
    x = np.stack([np.full((4, 4, 1), v, "float32") for v in (0.125, 0.25, 0.375, 0.75, 0.25, 0.5)])
    inputs = keras.Input((4, 4, 1))
    normed = keras.layers.BatchNormalization(center=False, scale=False, epsilon=1e-7)(inputs)
    features = keras.layers.Flatten(name="features")(normed)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="ones")(features))
    found, _ = terms(MAD(alpha=1.0, siamese=1.0, variance=0.0, jacobian=0.0), model, x, np.zeros(6, "int32"))
    # -1, 1, 0 on the one branch and on the other: a pair has the angle 0, but for the pair of zeros
    np.testing.assert_allclose(found["siamese"], [0, 0, 0, 0, 1, 1], atol=1e-2)


def test_without_its_weights_it_is_smoothed_cross_entropy_of_both_branches(net, digits):
    x, y = (part[:40] for part in digits.train)
    plain = MAD(alpha=1.0, siamese=0.0, variance=0.0, jacobian=0.0)
    found, _ = terms(plain, net, x, y)
    ce = np.asarray(cross_entropy(Net(net).logits(ops.convert_to_tensor(x)), y))
    assert list(found) == ["cross_entropy", "accuracy"] and plain.passes(10) == {"net.weights": 1}
    np.testing.assert_allclose(found["cross_entropy"], of_pairs(ce), rtol=1e-4, atol=1e-5)


ATTACKED = "mad(siamese=2.0, variance=3.0, jacobian=0.5, {}attack=pgd(threat=linf(eps={}), steps=2))"
MORE = ("", "projections=None, ", "jacobian_of='embedding', rvl='repo', squared=True, ")


@pytest.fixture
def normed():
    """A net with batch normalisation."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(12)(keras.layers.Flatten()(inputs)))
    x = keras.layers.Dense(6, activation="tanh", name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def few(n=20):
    rng = np.random.default_rng(3)
    return rng.random((n, 4, 4, 1)).astype("float32"), rng.integers(0, 3, n).astype("int32")


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("statistics", ["joint", "clean"])
def test_an_attack_that_moves_nothing_leaves_every_term_as_it_is(statistics, more, normed, smooth):
    x, y = few()
    mad = registry.parse("defense", ATTACKED.format(more, 0.0)).replace(statistics=statistics)
    for net in (normed, smooth):
        plain, batch = terms(mad.replace(attack=None), net, x, y)
        twice, _ = terms(mad, net, x, y)
        both = twice["cross_entropy"] + twice.pop("adversarial")
        np.testing.assert_allclose(both, plain["cross_entropy"], rtol=1e-4, atol=1e-5)
        # the slopes of two images of a batch have directions, or signs that batch normalisation shows, of
        # their own
        exact = ("jacobian",) if net is smooth and "signs" in batch else ()
        for name in ("siamese", "variance", *exact):
            np.testing.assert_allclose(twice[name], plain[name], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("more", MORE[:2])
def test_attacked_images_enter_every_term_by_their_share(more, smooth):
    """Without batch normalisation each term is that of two batches, RVL that of both in one."""
    x, y = few()
    mad = registry.parse("defense", ATTACKED.format(more, 0.1)).replace(mix=0.25)
    found, batch = terms(mad, smooth, x, y)
    assert np.abs(batch["adversarial"] - x).max() == pytest.approx(0.1, rel=1e-4)
    alone = mad.replace(attack=None)
    clean, _ = terms(alone, smooth, x, y)
    other = {k.removeprefix("adversarial_"): v for k, v in batch.items() if k.startswith("adversarial_")}
    moved = ops.convert_to_tensor(batch["adversarial"])
    other |= {"x": moved, "y": ops.convert_to_tensor(y)}
    attacked = alone.moves()[0].loss({"net": Net(smooth)}, other)
    attacked = {k: np.asarray(v) for k, v in attacked.items()}
    np.testing.assert_allclose(found["cross_entropy"], 0.75 * clean["cross_entropy"], rtol=1e-4)
    np.testing.assert_allclose(found["adversarial"], 0.25 * attacked["cross_entropy"], rtol=1e-4)
    for name in ("siamese", "jacobian"):
        want = 0.75 * clean[name] + 0.25 * attacked[name]
        np.testing.assert_allclose(found[name], want, rtol=2e-3, atol=1e-4)
        assert np.abs(want - clean[name]).max() > 1e-3
    z = [np.asarray(Net(smooth).features_and_logits(ops.convert_to_tensor(v))[0]) for v in (x, moved)]
    want = 0.0
    for k in (0, 1):  # each branch: the weighted spread of a class around its weighted centre
        label, weight = np.tile(y[k::2], 2), np.repeat([0.75, 0.25], 10)
        branch = np.concatenate([z[0][k::2], z[1][k::2]])
        for c in np.unique(label):
            w, members = weight[label == c], branch[label == c]
            away = np.linalg.norm(members - np.average(members, axis=0, weights=w), axis=1)
            want += np.average(away, weights=w) / 3
    assert found["variance"].mean() == pytest.approx(3.0 * want, rel=1e-3)


def test_an_attack_doubles_what_a_step_costs():
    mad = registry.parse("defense", ATTACKED.format("", 0.1))
    assert mad.replace(attack=None).passes(10) == {"net.weights": 1, "net.second": 1}
    assert mad.passes(10) == {"net.weights": 2, "net.second": 2, "net.input": 2}


def test_one_graph_serves_batches_of_any_size(net, digits):
    mad = MAD()

    def step(x, y):
        nets = {"net": Net(net)}
        batch = {"x": x, "y": y, **mad.prepare(nets, x, y, ops.cast(3, "uint32"))}
        return [ops.mean(v) for v in mad.moves()[0].loss(nets, batch).values()]

    run = compile(step, net)
    for size in (8, 30):
        x, y = (ops.convert_to_tensor(part[:size]) for part in digits.train)
        np.testing.assert_allclose(run(x, y), step(x, y), rtol=1e-3, atol=1e-5)


def test_presets_are_the_papers():
    recipes = {"mnist": ("mnist", 58), "cifar": ("cifar10", 333), "cifar100": ("cifar100", 333)}
    for name, (data, last) in recipes.items():
        beside = registry.parse("recipe", f"mad_{name}_adversarial")
        one, recipe = (registry.parse(kind, f"mad_{name}") for kind in ("defense", "recipe"))
        assert beside.defense.replace(attack=None) == one and beside.defense.attack.steps == 10
        assert beside.replace(defense=one) == recipe and recipe.data == data
        assert one.projections == (1 if name == "cifar100" else None)
        assert (one.alpha, one.siamese, one.variance, one.jacobian, one.same) == (0.8, 1, 1, 0.01, 0.5)
        rate = one.optimizer.build(10, 500).learning_rate
        assert float(rate) == pytest.approx(0.1) and one.optimizer.schedule.at[-1] == last
        assert registry.parse("defense", repr(one)) == one


@pytest.mark.slow
def test_angles_come_to_tell_the_classes(digits):
    inputs = keras.Input(digits.shape)
    x = keras.layers.Dense(32, "relu", name="features")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    game = Game(model, MAD())
    game.compile_moves(game.defense.moves(), 10, 1)
    batches = Batches(digits.train, 50, seed=0, rows=game.defense.batch_rows(digits.train[1]))
    rows = game.fit(batches, epochs=8, verbose=0).history
    assert rows["siamese"][-1] < 0.85 * rows["siamese"][0]
    # A tenth by chance; .83 on one processor, .88 on another.
    assert game.evaluate(*digits.test, verbose=0, return_dict=True)["accuracy"] > 0.75
