import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import fit, noise, registry
from keras_adv.backend import Game, Net, value_and_grad
from keras_adv.defenses.vat import VAT
from keras_adv.losses import kl_divergence
from keras_adv.models import MLP


def virtual(defense, model, x, seed=1):
    nets = {"net": Net(model)}
    seed = noise.fold(ops.cast(0, "uint32"), seed)
    return np.asarray(defense.prepare(nets, ops.convert_to_tensor(x), None, seed)["virtual"])


def lengths(delta):
    return np.sqrt((delta.astype("float64") ** 2).sum((1, 2, 3)))


def p(model, x):
    z = model.predict(x, verbose=0).astype("float64")
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def kl(a, b):
    return (a * (np.log(a) - np.log(b))).sum(1)


def test_power_iteration_finds_the_direction_of_greatest_change(linear, grey):
    """The Hessian of KL(p(x) || p(x + r)) at r = 0 is W (diag p - p p^T) W^T for a linear model."""
    model, w, b = linear
    small = keras.models.clone_model(model)
    small.set_weights([0.2 * w, b])  # several classes with a share of p
    x, _ = grey

    def quotients(power):
        r = (virtual(VAT(eps=1.0, power=power), small, x) - x).reshape(len(x), -1).astype("float64")
        out = []
        for d, q in zip(r, p(small, x), strict=True):
            hessian = 0.04 * w @ (np.diag(q) - np.outer(q, q)) @ w.T
            out.append(d @ hessian @ d / (d @ d) / np.linalg.eigvalsh(hessian)[-1])
        return np.array(out)

    assert quotients(30).min() > 0.97
    assert 0.5 < quotients(1).mean() < quotients(4).mean()


@pytest.mark.parametrize("power", [1, 3])
def test_r_has_its_length_and_beats_a_random_direction(power, net, digits):
    x = digits.test[0][:80]
    moved = virtual(VAT(eps=0.7, power=power), net, x)
    np.testing.assert_allclose(lengths(moved - x), 0.7, rtol=1e-4)
    d = np.random.default_rng(0).normal(size=x.shape).astype("float32")
    blind = x + 0.7 * d / lengths(d)[:, None, None, None].astype("float32")
    clean = p(net, x)
    assert kl(clean, p(net, moved)).mean() > 5 * kl(clean, p(net, blind)).mean()


def test_the_gradient_is_not_zero_at_the_default_xi(net, digits):
    """If it were, the direction would be the random one, whatever the number of iterations."""
    x = digits.test[0][:200]
    one, two = (virtual(VAT(power=n), net, x) for n in (1, 2))
    assert (np.abs(one - two).max((1, 2, 3)) > 1e-6).mean() > 0.98


def test_where_float32_has_no_gradient_the_direction_stays_random(linear, grey):
    model, w, b = linear
    x, _ = grey
    flat = keras.models.clone_model(model)
    flat.set_weights([0 * w, b])
    moved = virtual(VAT(eps=0.3), flat, x)
    np.testing.assert_allclose(lengths(moved - x), 0.3, rtol=1e-4)
    assert np.abs(moved - virtual(VAT(eps=0.3), flat, x, seed=2)).max() > 0.01


def test_p_of_the_clean_image_is_held_fixed(smooth):
    rng = np.random.default_rng(0)
    x, moved = (ops.convert_to_tensor(rng.random((6, 4, 4, 1)).astype("float32")) for _ in range(2))
    batch = {"x": x, "virtual": moved, "y": ops.zeros(6, "int32")}
    fixed = Net(smooth).logits(x)
    values = [ops.convert_to_tensor(v) for v in smooth.trainable_variables]

    def ours(v):
        return VAT(weight=2.0).moves()[0].loss({"net": Net(smooth).with_values(v)}, batch)["divergence"], None

    got, want = (
        value_and_grad(fn, values)[2]
        for fn in (
            ours,
            lambda v: (2.0 * kl_divergence(fixed, Net(smooth).with_values(v).logits(moved)), None),
        )
    )
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_batch_statistics_see_the_clean_images_only():
    x = np.random.default_rng(0).random((40, 8, 8, 1)).astype("float32")
    y = np.zeros(40, "int32")
    moving = []
    for spec in ("vat(eps=5.0, statistics='clean')", "standard()"):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        norm = keras.layers.BatchNormalization()
        model = keras.Model(inputs, keras.layers.Dense(3)(norm(keras.layers.Flatten()(inputs))))
        game = Game(model, registry.parse("defense", spec))
        game.compile_moves(game.defense.moves(), 1, 1)
        game.play(ops.convert_to_tensor(x), ops.convert_to_tensor(y))
        moving.append([np.array(norm.moving_mean), np.array(norm.moving_variance)])
    np.testing.assert_allclose(*moving, atol=1e-7)


@pytest.mark.slow
def test_it_smooths_the_net(digits):
    x = digits.test[0]
    change = []
    for spec in ("vat(weight=5.0)", "standard()"):
        net = MLP(units=(40,)).build(digits.shape, digits.classes)
        fit.defend(net, spec, *digits.train, epochs=5, verbose=0)
        change.append(kl(p(net, x), p(net, virtual(VAT(power=3), net, x))).mean())
    assert change[0] < 0.5 * change[1]
