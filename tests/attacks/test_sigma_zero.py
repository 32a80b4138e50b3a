"""sigma-zero: its text step by step, pixels, and what it leaves to the others."""

import math

import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.task import Examples, Task


def written(w, x, y, steps, sigma=0.001, rate=0.01):
    """The points and thresholds of algorithm 1 on the linear model x w, one image."""
    r, m, v, tau, path = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0.3, []
    for k in range(steps):
        z = (x + r) @ w
        rival = max((j for j in range(len(z)) if j != y), key=lambda j: z[j])
        holds = z[y] - z[rival]
        g = (w[:, y] - w[:, rival]) * (holds > 0) + 2 * r * sigma / (r**2 + sigma) ** 2 / len(x)
        g = g / max(np.abs(g).max(), 1e-12)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        pace = 0.1 + 0.9 * (1 + math.cos(math.pi * k / steps)) / 2
        move = m / (1 - 0.9 ** (k + 1)) / (np.sqrt(v / (1 - 0.999 ** (k + 1))) + 1e-8)
        tau = min(max(tau + (rate if holds < 0 else -rate) * pace, 0.0), 1.0)
        r = np.clip(x + r - pace * move, 0.0, 1.0) - x
        r[np.abs(r) < tau] = 0.0
        path.append((r, tau))
    return path


def linear_task(w, x, y, shape):
    images = ops.convert_to_tensor(x.reshape(-1, *shape), "float32")
    weights = ops.convert_to_tensor(w, "float32")
    examples = Examples.of_batch(images, ops.convert_to_tensor(y, "int32"))
    return Task(lambda v: ops.reshape(v, (-1, len(w))) @ weights, examples)


def test_every_step_is_the_texts():
    rng = np.random.default_rng(2)
    w, x, steps = rng.normal(size=(16, 4)), 0.3 + 0.4 * rng.random((3, 16)), 20
    y = (x @ w).argmax(1)
    one, task = registry.parse("attack", f"sigma_zero(steps={steps})"), linear_task(w, x, y, (4, 4, 1))
    state = one.begin(task)
    paths = [written(w, image, label, steps) for image, label in zip(x, y, strict=True)]
    for k in range(steps):
        state = {**one.step(task, state)[0], "k": state["k"] + 1}
        for row, path in enumerate(paths):
            r, tau = path[k]
            np.testing.assert_allclose(np.asarray(state["r"])[row].ravel(), r, atol=1e-3, err_msg=f"{k}")
            assert float(state["threshold"][row]) == pytest.approx(tau, abs=1e-5)


def test_one_change_is_found_where_one_is_enough():
    """The value whose weight is largest, the others small."""
    w = np.full((16, 2), 0.01)
    w[:, 0], w[5, 0], w[5, 1] = 0.0, 3.0, -3.0
    x = np.full((1, 16), 0.6)
    found = registry.parse("attack", "sigma_zero(steps=60)").run(linear_task(w, x, [0], (4, 4, 1)))
    changed = np.flatnonzero(np.asarray(found.images).ravel() != x.astype("float32").ravel())
    assert np.asarray(found.success).all() and changed.tolist() == [5]


def test_with_pixels_whole_pixels_are_undone_and_counted():
    one = registry.parse("attack", "sigma_zero(threat=l0(), steps=40)")
    rng = np.random.default_rng(0)
    r = rng.uniform(-0.5, 0.5, (2, 3, 3, 3)).astype("float32")
    kept = np.asarray(one._undo_small(ops.convert_to_tensor(r), ops.convert_to_tensor([0.3, 0.45])))
    large = np.abs(r).max(3) >= np.array([0.3, 0.45])[:, None, None]
    np.testing.assert_array_equal(kept, r * large[..., None])
    w, x = rng.normal(size=(27, 3)), np.full((4, 27), 0.5)
    found = one.run(linear_task(w, x, (x @ w).argmax(1), (3, 3, 3)))
    pixels = (np.asarray(found.images) != 0.5).any(3).sum((1, 2))
    assert np.asarray(found.success).all()
    np.testing.assert_array_equal(np.asarray(found.distance), pixels)


@pytest.mark.slow
def test_it_changes_no_more_than_the_other_attacks_of_its_norm(net, digits):
    x, y = digits.test[0][:100], digits.test[1][:100]
    ours = attack(net, x, y, "sigma_zero(steps=300)")
    assert ours.success.all()
    for spec in ("jsma()", "fmn(threat=l0(pixels=False), steps=300)"):
        theirs = attack(net, x, y, spec)
        both = theirs.success & theirs.clean
        assert ours.distance[both].mean() <= 1.01 * theirs.distance[both].mean(), spec
