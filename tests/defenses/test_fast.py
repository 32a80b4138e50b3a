import numpy as np
import pytest
from keras import ops

from keras_adv import noise, registry
from keras_adv.backend import Game, Net
from keras_adv.defenses.fast import Fast
from keras_adv.threats import L2, Linf
from keras_adv.validate import InvalidInput


def test_its_step_is_rs_fgsm_in_numpy(linear, grey):
    model, w, b = linear
    x, y = grey
    seeds = noise.seeds(7, ops.arange(len(x)))
    start = np.asarray(Linf(eps=0.1).sample(ops.convert_to_tensor(x), seeds))
    z = start.reshape(len(x), -1) @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p = p / p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    slope = (p @ w.T).reshape(x.shape)
    want = np.clip(x + np.clip(start + 0.125 * np.sign(slope) - x, -0.1, 0.1), 0, 1)
    nets = {"net": Net(model)}
    got = Fast().prepare(nets, ops.convert_to_tensor(x), ops.convert_to_tensor(y), 7)["adversarial"]
    sure = np.abs(slope) > 1e-4
    assert sure.mean() > 0.5
    np.testing.assert_allclose(np.asarray(got)[sure], want[sure], atol=1e-5)


def test_it_takes_any_norm_and_one_gradient(net, digits):
    x, y = (ops.convert_to_tensor(part[:20]) for part in digits.train)
    moved = Fast(threat=L2(eps=0.5)).prepare({"net": Net(net)}, x, y, 0)["adversarial"]
    norms = np.asarray(L2().norm(moved - x))
    assert norms.max() <= 0.5 + 1e-5 and norms.min() > 0.2
    assert Fast().passes(10) == {"net.input": 1, "net.weights": 1}
    with pytest.raises(InvalidInput, match="eps"):
        Fast(threat=L2())


def test_it_is_watched_by_a_pgd_of_quarter_steps_in_its_own_ball():
    guard = Fast(threat=L2(eps=0.5), drop=0.3, images=50, steps=7).collapse_guard()
    assert (guard.drop, guard.images) == (0.3, 50)
    assert (guard.attack.threat, guard.attack.steps, guard.attack.step_size) == (L2(eps=0.5), 7, 0.25)


def test_it_adds_no_network_of_its_own(fresh):
    assert set(Game(fresh, Fast()).players) == {"net"}


def test_n_fgsm_starts_beyond_the_ball_and_is_cut_at_the_box_alone(linear, grey):
    """x' = clip(x + r + eps sign(g(x + r))), r uniform in twice the ball, itself cut at the box."""
    model, x, y = linear[0], *grey
    n_fgsm = registry.parse("recipe", "fast_cifar_nfgsm").defense.replace(threat=Linf(eps=0.2))
    batch = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    got = np.asarray(n_fgsm.prepare({"net": Net(model)}, *batch, 7)["adversarial"])
    seeds = noise.seeds(7, ops.arange(len(x)))
    r = 0.4 * (2 * np.asarray(noise.uniform(seeds, x.shape[1:])) - 1)
    start = np.clip(x + r, 0, 1)
    rest = np.clip(start + 0.2 * np.ones_like(x), 0, 1), np.clip(start - 0.2 * np.ones_like(x), 0, 1)
    nearest = np.minimum(*(np.abs(got - one) for one in rest))
    assert (nearest < 1e-6).mean() > 0.99  # but for pixels without a slope
    assert np.abs(got - x).max() > 0.5  # far beyond eps
    z = model.predict(got, verbose=0), model.predict(start, verbose=0)
    assert (z[0][np.arange(len(y)), y] < z[1][np.arange(len(y)), y]).all()


def test_smoothing_is_that_of_the_targets(net, digits):
    """-sum_k t_k log p_k, t = (1 - s) one_hot + s / K (Szegedy et al., sec. 7)."""
    x, y = (ops.convert_to_tensor(part[:20]) for part in digits.train)
    defense = Fast(smoothing=0.3)
    batch = {"x": x, "y": y, **defense.prepare({"net": Net(net)}, x, y, 0)}
    found = defense.moves()[0].loss({"net": Net(net)}, batch)["adversarial"]
    log_p = np.asarray(ops.log_softmax(Net(net).logits(batch["adversarial"]), axis=1))
    target = 0.7 * np.eye(10)[digits.train[1][:20]] + 0.03
    np.testing.assert_allclose(found, -(target * log_p).sum(1), rtol=1e-4)
