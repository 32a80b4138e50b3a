"""JSMA: the best pair, one run by hand, and all targets."""

import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.jsma import best_pair

RNG = np.random.default_rng(0)


def score(u, v, free):
    """(D, D) scores of all pairs, 0 where a pair is not allowed."""
    a, b = u[:, None] + u, v[:, None] + v
    allowed = (a > 0) & (b > 0) & free[:, None] & free & ~np.eye(len(u), dtype=bool)
    return np.where(allowed, a * b, 0.0)


def draw(kind):
    u, v = RNG.normal(size=(2, 20, 60))
    if kind == "opposed":  # a long Pareto front
        v = -u + 0.1 * v
    elif kind == "tied":
        u, v = np.round(2 * u), np.round(2 * v)
    elif kind == "scaled":
        u, v = u**3, 1e-12 * v
    elif kind == "hopeless":
        u = u - 3.0
    return u.astype("float32"), v.astype("float32")


@pytest.mark.parametrize("kind", ["independent", "opposed", "tied", "scaled", "hopeless"])
def test_best_pair_is_the_best_of_all_pairs(kind):
    u, v = draw(kind)
    free = RNG.random(u.shape) < 0.7
    free[0], free[1] = False, np.arange(60) == 5  # nothing to choose from
    pairs, found = (np.asarray(part) for part in best_pair(u, v, free))
    for i in range(len(u)):
        best = score(u[i].astype(float), v[i].astype(float), free[i]).max()
        assert found[i] == (best > 0) and pairs[i].sum() == 2 * found[i] and free[i][pairs[i]].all()
        if found[i]:
            assert float(u[i][pairs[i]].sum()) * float(v[i][pairs[i]].sum()) == pytest.approx(best, rel=1e-5)


def by_hand(w, b, x, y, target, sign):
    """One run on a linear model: how many values it changes, or infinity."""
    free, now = (x < 1) if sign > 0 else (x > 0), x.copy()
    u, v = sign * w[:, target], -sign * (w.sum(1) - w[:, target])
    while np.argmax(now @ w + b) == y:
        scores = score(u, v, free)
        if scores.max() <= 0:
            return np.inf
        pair = np.array(np.unravel_index(scores.argmax(), scores.shape))
        now[pair] = np.clip(now[pair] + sign, 0, 1)
        free[pair] = False
    return (now != x).sum()


def test_runs_are_those_of_the_paper_and_the_smallest_is_kept(linear, digits):
    model, w, b = linear
    x = digits.test[0][:12]
    y = model.predict(x, verbose=0).argmax(1)
    result = attack(model, x, y, "jsma()")
    for i in range(12):
        others = [t for t in range(5) if t != y[i]]
        fewest = min(by_hand(w, b, x[i].ravel(), y[i], t, s) for t in others for s in (1, -1))
        assert result.distance[i] == fewest


@pytest.mark.slow
def test_reaches_a_given_class(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    result = attack(net, x, y, "jsma(steps=100)", targets=(y + 1) % 10)
    assert result.success.mean() > 0.8
    reached = net.predict(result.images, verbose=0).argmax(1) == (y + 1) % 10
    np.testing.assert_array_equal(reached[result.clean], result.success[result.clean])


def test_gamma_limits_the_changed_values(net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    result = attack(net, x, y, "jsma(gamma=0.07)")  # 4 of 64
    assert result.distance.max() == 4


def test_values_move_by_theta():
    def logits(v):
        z = 10.0 * ops.reshape(v, (-1, 16))[:, :2]
        z = ops.sum(z, axis=1)
        return ops.stack([1.0 - 0.1 * z, z - 3.0], axis=1)

    x = np.full((1, 4, 4, 1), 0.1, "float32")
    found = registry.parse("attack", "jsma(theta=0.2)")(logits, x, np.zeros(1, "int32"))
    change = np.asarray(found.images - x).ravel()
    np.testing.assert_allclose(change[:2], 0.2, atol=1e-6)
    assert not change[2:].any() and np.asarray(found.success).all()
