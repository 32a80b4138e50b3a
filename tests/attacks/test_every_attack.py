"""Laws of every registered attack."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, registry
from keras_adv.attacks.host import HostAttack
from keras_adv.backend import Net, compile
from keras_adv.evaluation import attack

NAMES = list(registry.registered("attack"))
QUICK = {
    "apgd": "apgd(steps=20)",
    "autoattack": "autoattack(threat=linf(eps=0.1), steps=10, queries=50)",
    "boundary": "boundary(steps=150)",
    "brendel_bethge": "brendel_bethge(steps=30)",
    "carlini_wagner": "carlini_wagner(searches=3, steps=30, initial=0.1, lr=0.05)",
    "daa": "daa(steps=10, particles=3)",
    "ddn": "ddn(steps=40)",
    "ead": "ead(searches=3, steps=30, initial=0.1, lr=0.05)",
    "fab": "fab(steps=20)",
    "feature_adversary": "feature_adversary(threat=linf(eps=0.2), steps=40)",
    "high_confidence": "high_confidence(steps=60)",
    "jsma": "jsma(steps=60)",
    "lbfgs": "lbfgs(steps=60, initial=0.1)",
    "one_pixel": "one_pixel(threat=l0(eps=6), steps=5, population=40)",
    "pdgd": "pdgd(steps=40)",
    "pdpgd": "pdpgd(steps=40)",
    "sparsefool": "sparsefool(steps=5, inner=10)",
    "square": "square(threat=linf(eps=0.2), steps=150)",
    "worst": "worst(attacks=(pgd(steps=10), deepfool(threat=linf())))",
}
BOUNDED = [n for n in NAMES if registry.parse("attack", n).contract == "bounded"]
HOSTS = [n for n in NAMES if isinstance(registry.parse("attack", n), HostAttack)]
# SciPy's optimiser cannot be part of a graph, and only the evaluation chooses guides
TRACED = [n for n in NAMES if n not in HOSTS and not registry.parse("attack", n).guided]
TIES = {"lbfgs": 2}
"""Images of 48 that rounding may tip: it bisects on whether a minimum (not a point short of one) fools the model."""


def quick(name):
    return registry.parse("attack", QUICK.get(name, name))


@pytest.fixture(scope="module")
def images(digits):
    return digits.test[0][:48], digits.test[1][:48]


@pytest.fixture(scope="module")
def found(net, images):
    """name -> what the attack finds on the images: several laws look at the same run."""
    return functools.cache(lambda name: attack(net, *images, quick(name)))


@pytest.fixture(scope="module")
def compiled(net):
    """name -> (the attack as one graph, a list that grows when it is traced)."""

    @functools.cache
    def make(name):
        traces = []

        def logits(v):
            traces.append(1)
            return Net(net, frozen=True).logits(v)

        return compile(lambda a, b: quick(name)(logits, a, b), net), traces

    return make


@pytest.mark.parametrize("name", NAMES)
def test_result_is_in_ball_and_box_and_really_adversarial(name, net, images, found):
    x, y = images
    one, result = quick(name), found(name)
    assert result.images.shape == x.shape and result.images.dtype == np.float32
    assert result.images.min() >= 0 and result.images.max() <= 1
    np.testing.assert_array_equal(net.predict(result.images, verbose=0).argmax(1) != y, result.success)
    np.testing.assert_allclose(one.threat.norm(result.images - x), result.distance, rtol=1e-5, atol=1e-6)
    if one.contract == "bounded":
        assert (result.distance <= one.threat.eps * (1 + 1e-6)).all()
    else:
        np.testing.assert_array_equal(result.images[~result.success], x[~result.success])
    np.testing.assert_array_equal(result.images[~result.clean], x[~result.clean])
    assert result.success[result.clean].mean() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_neither_order_nor_batch_size_changes_an_images_result(name, net, images, found):
    # row i of the set draws from (seed, i), so here the whole set moves, not only its order in a batch
    whole, parts = found(name), attack(net, *images, quick(name), batch_size=13)
    close = np.isclose(parts.distance, whole.distance, rtol=2e-2, atol=2e-3)
    assert (~close).sum() <= TIES.get(name, 0)
    assert (parts.success == whole.success).mean() > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result(name, net, images, found):
    first, second = found(name), attack(net, *images, quick(name))
    np.testing.assert_array_equal(first.success, second.success)
    apart = (
        np.abs(first.images - second.images).reshape(len(first.images), -1).max(axis=1)
    )  # some kernels round by thread
    assert (apart > 1e-5).sum() <= 1  # one image of 48 may have stood at a tie


def test_other_seed_other_start(net, images):
    x, y = images
    first, second = (attack(net, x, y, "pgd(threat=linf(eps=0.05), steps=1)", seed=s) for s in (0, 1))
    assert np.abs(first.images - second.images).max() > 0.01


@pytest.mark.parametrize("name", BOUNDED)
def test_eps_zero_is_the_identity(name, net, images):
    x, y = images
    one = registry.with_values(quick(name), {"threat.eps": 0.0})
    np.testing.assert_allclose(attack(net, x, y, one).images, x, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_model_is_left_as_it_was(name, digits):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(digits.shape)
    h = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    h = keras.layers.Dropout(0.5)(keras.layers.Flatten(name="features")(h))
    model = keras.Model(inputs, keras.layers.Dense(10)(h))
    before = [np.array(w) for w in model.get_weights()]
    x, y = digits.test[0][:40], digits.test[1][:40]
    attack(model, x, model.predict(x, verbose=0).argmax(1), quick(name).replace())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(y) == 40


@pytest.mark.parametrize("name", TRACED)
def test_eager_equals_compiled(name, net, images, compiled):
    x, y = (part[:8] for part in images)
    eager, graph = quick(name)(net, x, y), compiled(name)[0](x, y)
    np.testing.assert_allclose(eager.distance, graph.distance, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", TRACED)
def test_no_retrace_over_equal_shapes(name, images, compiled):
    x, y = images
    run, traces = compiled(name)
    run(x[:8], y[:8])
    count = len(traces)
    run(x[8:16], y[8:16])
    run(x[16:24], y[16:24])
    assert len(traces) == count


@pytest.mark.parametrize("name", NAMES)
def test_constant_logits_give_no_nan(name, images):
    x, y = (part[:8] for part in images)
    if quick(name).guided:
        pytest.skip("needs features")
    found = quick(name)(lambda v: ops.zeros((ops.shape(v)[0], 10)) + 0.0 * ops.sum(v), x, np.zeros_like(y))
    assert np.isfinite(np.asarray(found.images)).all() and not np.asarray(found.success).any()


@pytest.mark.parametrize("name", TRACED)
def test_training_images_are_feasible_and_carry_no_gradient(name, net, images):
    x, y = (part[:8] for part in images)
    one = quick(name)
    seeds = ops.cast(ops.arange(8), "uint32")
    made = np.asarray(one.perturb(Net(net, frozen=True).logits, ops.convert_to_tensor(x), y, seeds))
    assert made.min() >= 0 and made.max() <= 1
    if one.contract == "bounded":
        assert (np.asarray(one.threat.norm(made - x)) <= one.threat.eps * (1 + 1e-5)).all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(TRACED)))
def test_attacks_on_the_host_or_with_a_guide_do_not_train(name, net, images):
    x, y = (part[:8] for part in images)
    with pytest.raises(InvalidInput, match=r"SciPy|guide"):
        quick(name).perturb(Net(net, frozen=True).logits, x, y, np.arange(8, dtype="uint32"))
    with pytest.raises(InvalidInput, match="`attack` must be one that a training step can run"):
        registry.parse("defense", f"adversarial(attack={name}())")


def gaps(linear, x, y):
    """(z_y - z_j, w_y - w_j) of a linear model, for every j but y."""
    _, w, b = linear
    z = x.reshape(len(x), -1) @ w + b
    rows = []
    for i in range(len(x)):
        others = [j for j in range(w.shape[1]) if j != y[i]]
        rows.append([(z[i, y[i]] - z[i, j], w[:, y[i]] - w[:, j]) for j in others])
    return rows


DUAL = {
    "linf": lambda v: np.abs(v).sum(),
    "l2": lambda v: np.sqrt((v**2).sum()),
    "l1": lambda v: np.abs(v).max(),
}


@pytest.mark.parametrize(
    ("spec", "tolerance"),
    [
        ("deepfool()", 0.03),
        ("deepfool(threat=linf())", 0.05),  # 2% overshoot and 1e-4 a step
        ("pdgd()", 0.02),
        ("pdpgd()", 0.02),
        ("pdpgd(threat=l2())", 0.03),
        ("pdpgd(threat=l1())", 0.1),
        ("fab()", 0.02),
        ("fab(threat=l2())", 0.02),
        ("fab(targets=4)", 0.02),
    ],
)
def test_minimal_attacks_reach_the_optimum_of_a_linear_model(spec, tolerance, linear, grey):
    x, y = grey
    one = registry.parse("attack", spec)
    best = [min(gap / DUAL[one.threat.name](w) for gap, w in row) for row in gaps(linear, x, y)]
    result = attack(linear[0], x, y, one)
    assert result.success.all()
    assert (result.distance >= np.array(best) * (1 - 1e-3)).all()
    assert result.distance.mean() <= np.mean(best) * (1 + tolerance)


@pytest.fixture(scope="module")
def plane():
    """One boundary: a linear model of two classes, grey images, and |z_0 - z_1| / dual norm for each norm."""
    w = np.random.default_rng(3).normal(size=(64, 2)).astype("float32")
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten(name="features")(inputs)))
    model.layers[-1].set_weights([w, (-0.5 * w.sum(0)).astype("float32")])
    x = 0.5 + 0.2 * np.random.default_rng(4).normal(size=(24, 8, 8, 1)).astype("float32")
    x = np.clip(x, 0.25, 0.75)
    z = model.predict(x, verbose=0)
    best = {name: np.abs(z[:, 0] - z[:, 1]) / size(w[:, 0] - w[:, 1]) for name, size in DUAL.items()}
    return model, x, z.argmax(1).astype("int32"), best


@pytest.mark.parametrize(
    ("spec", "tolerance"),
    [
        *((f"{name}()", 0.02) for name in ("pdgd", "pdpgd", "fab", "lbfgs")),
        *((f"pdpgd(threat={norm}())", 0.02) for norm in ("l2", "l1")),
        *(
            (f"pdpgd(threat=l1(), lr={lr}, optimizer={o!r})", 0.02)
            for lr, o in ((1.0, "accelerated"), (0.1, "sgd"))
        ),
        *((f"fab(threat={norm}())", 0.02) for norm in ("l2", "l1")),
        *((f"brendel_bethge(threat={norm}(), steps=200)", 0.02) for norm in ("linf", "l2", "l1")),
        ("carlini_wagner(steps=300)", 0.02),
        ("ead(steps=300, beta=0.1)", 0.02),
        ("ddn(steps=300)", 0.02),
        ("boundary(steps=3000)", 0.02),
        *((f"deepfool(threat={norm}())", 0.03) for norm in ("l2", "linf")),  # 2% overshoot and 1e-4 a step
        ("sparsefool()", 0.04),  # looks 2% beyond the boundary, after DeepFool's own 2%
    ],
)
def test_minimal_attacks_reach_the_one_boundary_of_a_linear_model(spec, tolerance, plane):
    model, x, y, best = plane
    one = registry.parse("attack", spec)
    result = attack(model, x, y, one)
    optimum = best[one.threat.name]
    assert result.success.all()
    assert (result.distance >= optimum * (1 - 1e-3)).all()
    assert result.distance.mean() <= optimum.mean() * (1 + tolerance)


@pytest.mark.parametrize("threat", ["linf(eps=0.05)", "l2(eps=0.3)", "l1(eps=0.2)"])
def test_pgd_gains_all_that_a_linear_model_gives(threat, grey):
    x, _ = grey
    w = np.random.default_rng(0).normal(size=(64,)).astype("float32")

    def logits(v):  # two classes: the margin is linear
        z = ops.sum(ops.reshape(v - 0.5, (-1, 64)) * w, axis=1)
        return ops.stack([z, -z], axis=1) + ops.convert_to_tensor([100.0, 0.0])

    one = registry.parse("attack", f"pgd(threat={threat}, loss='margin', random_start=False)")
    found = one(logits, x, np.zeros(len(x), "int32"))
    gain = ((x - np.asarray(found.images)).reshape(len(x), -1) @ w).mean()
    assert gain == pytest.approx(one.threat.eps * DUAL[one.threat.name](w), rel=0.02)
