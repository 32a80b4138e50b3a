"""What comes before a network: the numpy formulas, their laws, and that it is saved with the net."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_adv
from keras_adv import InvalidInput, artifact, data, registry
from keras_adv.backend import value_and_grad
from keras_adv.models import MLP, NORMALIZE, normalizer

RNG = np.random.default_rng(0)
COMMON = RNG.normal(size=(1, 6, 5, 2)) * 0.1
X = np.clip(0.4 + COMMON + 0.15 * RNG.normal(size=(400, 6, 5, 2)), 0, 1).astype("float32")
D = 60
MADE = [name for name in NORMALIZE if name != "none"]


def net_of(name, images=X):
    return MLP(units=(5,)).build(images.shape[1:], 3, normalizer=normalizer(name, images))


def given(net, images=X):
    """What the network itself is given."""
    layer = net.get_layer("normalize")
    return np.asarray(keras.Model(net.input, layer.output)(images, training=False))


def less_own_mean(v):
    return v - v.mean((1, 2, 3), keepdims=True)


def contrast(x):
    c = less_own_mean(x.astype("float64"))
    return 55 * c / np.maximum(np.linalg.norm(c.reshape(len(c), -1), axis=1), 1 / 255)[:, None, None, None]


def formula(name, x):
    x, m = x.astype("float64"), X.mean(0, dtype="float64")
    if name == "standard":
        return (x - X.mean((0, 1, 2))) / X.std((0, 1, 2))
    if name == "centre":
        return x - 0.5
    if name == "mean_image":
        return 255 * x - (255 * X.astype("float64")).mean(0)
    if name == "gcn_zca":
        g, known = contrast(x).reshape(len(x), -1), contrast(X).reshape(len(X), -1)
        u, s, _ = np.linalg.svd(np.cov(known.T, bias=True))
        return ((g - known.mean(0)) @ (u * (s + 0.1) ** -0.5) @ u.T).reshape(x.shape)
    c, known = (less_own_mean(255 * (v - m)).reshape(len(v), -1) for v in (x, X.astype("float64")))
    usual = known.std(1, ddof=1).mean()
    c, known = (v * usual / np.maximum(v.std(1, ddof=1, keepdims=True), 40) for v in (c, known))
    u, s, _ = np.linalg.svd(known.T @ known / len(known))
    return (c @ (u * np.sqrt(s.mean()) / np.maximum(np.sqrt(s), 10)) @ u.T).reshape(x.shape)


@pytest.mark.parametrize("name", MADE)
def test_it_is_the_formula_of_new_images_too(name):
    net = net_of(name)
    other = np.clip(X[:20] + 0.1 * RNG.normal(size=(20, 6, 5, 2)), 0, 1).astype("float32")
    other[0] = 0.5  # no contrast
    scale = np.abs(formula(name, X)).max()
    for images in (X[:30], other):
        np.testing.assert_allclose(given(net, images), formula(name, images), atol=2e-5 * scale)


def test_whitened_training_images_have_the_covariance_of_unit_directions():
    white = given(net_of("gcn_zca")).reshape(len(X), -1)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-4)
    found = np.linalg.eigvalsh(np.cov(white.T, bias=True))
    known = np.linalg.eigvalsh(np.cov(contrast(X).reshape(len(X), -1).T, bias=True))
    np.testing.assert_allclose(found, known / (known + 0.1), atol=1e-4)
    assert (found[1:] > 0.95).all() and found[0] < 1e-4  # the direction of grey has no contrast


def test_matconvnets_whitening_is_flat_above_its_floor_and_keeps_the_size():
    white = given(net_of("matconvnet")).reshape(len(X), -1).astype("float64")
    found = np.linalg.eigvalsh(white.T @ white / len(white))
    assert found[1:].max() / found[1:].min() < 1.001 and found[0] < 1e-3
    before = less_own_mean(255 * (X - X.mean(0))).reshape(len(X), -1).std(1, ddof=1)
    assert np.sqrt((white**2).mean()) == pytest.approx(before.mean(), rel=0.15)


def test_contrast_is_of_one_length_and_knows_no_brightness():
    whiten = net_of("gcn_zca").get_layer("whiten")
    net = net_of("gcn_zca")
    before = keras.Model(net.input, net.layers[[n.name for n in net.layers].index("whiten")].input)
    g = np.asarray(before(X[:50]))
    np.testing.assert_allclose(np.linalg.norm(g, axis=1), 55, rtol=1e-4)
    np.testing.assert_allclose(g.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(before(0.2 + 0.5 * X[:50]), g, atol=1e-3)
    np.testing.assert_allclose(whiten.kernel, np.transpose(whiten.kernel), atol=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_gradients_go_through_by_the_chain_rule(name):
    net = net_of(name)
    rest = keras.Model(net.get_layer("normalize").output, net.output)
    x, v = X[:4], RNG.normal(size=(4, 3)).astype("float32")
    _, _, whole = value_and_grad(lambda i: (ops.sum(net(i) * v, axis=1), ()), ops.convert_to_tensor(x))
    z = ops.convert_to_tensor(given(net, x))
    _, _, inner = value_and_grad(lambda i: (ops.sum(rest(i) * v, axis=1), ()), z)
    direction, step = RNG.normal(size=x.shape), 1e-6
    forward = (formula(name, x + step * direction) - formula(name, x - step * direction)) / (2 * step)
    want = (np.asarray(inner, "float64") * forward).sum((1, 2, 3))
    got = (np.asarray(whole, "float64") * direction).sum((1, 2, 3))
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-4 * np.abs(want).max())


@pytest.mark.parametrize("name", ["gcn_zca", "matconvnet"])
def test_an_image_without_contrast_has_a_finite_gradient(name):
    net, flat = net_of(name), ops.full((1, 6, 5, 2), 0.5)
    _, _, g = value_and_grad(lambda i: (ops.sum(net(i), axis=1), ()), flat)
    assert np.isfinite(np.asarray(g)).all()


@pytest.mark.parametrize("name", MADE)
def test_it_is_saved_in_keras_own_layers_and_not_trained(name, tmp_path):
    net = net_of(name)
    plain = MLP(units=(5,)).build(X.shape[1:], 3)
    assert len(net.trainable_variables) == len(plain.trainable_variables)
    assert "keras_adv" not in net.to_json()
    for half, close in ((False, 1e-6), (True, 0.05)):
        artifact.write(net, tmp_path / "m.keras", half)
        again = artifact.read(tmp_path / "m.keras")
        z = np.asarray(net(X[:10]))
        np.testing.assert_allclose(again(X[:10]), z, atol=close * np.abs(z).max())
    copy = keras.models.clone_model(net)
    copy.set_weights(net.get_weights())
    np.testing.assert_allclose(copy(X[:10]), net(X[:10]), rtol=1e-5)


def test_training_leaves_it_alone():
    digits = data.load("digits")
    x, y = (part[:200] for part in digits.train)
    net = MLP(units=(8,)).build(digits.shape, 10, normalizer=normalizer("gcn_zca", digits.train[0]))
    before = [np.array(w) for w in net.get_layer("whiten").get_weights()]
    keras_adv.defend(net, "standard", x, y, epochs=1, verbose=0)
    for kept, was in zip(net.get_layer("whiten").get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, was)
    result = keras_adv.attack(net, x[:20], y[:20], "fgsm(threat=linf(eps=0.1))")
    assert np.abs(result.images - x[:20]).max() == pytest.approx(0.1, abs=1e-6)  # of images in [0, 1]


def test_none_is_no_layer_and_mistakes_are_told():
    assert normalizer("none", X) is None
    with pytest.raises(InvalidInput, match="`normalize` must be one of"):
        normalizer("zca", X)
    large = np.zeros((2, 64, 65, 1), "float32")
    assert normalizer("mean_image", large)
    for name in ("gcn_zca", "matconvnet"):
        with pytest.raises(InvalidInput, match=r"more than 4,096 values.*4,160"):
            normalizer(name, large)


def test_older_recipes_say_true_and_false():
    for old, new in ((True, "standard"), (False, "none")):
        made = registry.parse("recipe", f"recipe(normalize={old})")
        assert made.normalize == new and made == registry.parse("recipe", f"recipe(normalize='{new}')")
    with pytest.raises(InvalidInput, match="`normalize` must be one of"):
        registry.parse("recipe", "recipe(normalize='yes')")
