"""L-BFGS in a box for a batch, against that of SciPy."""

import numpy as np
import pytest
from keras import ops
from scipy import optimize

from keras_adv.backend import compile, value_and_grad
from keras_adv.numerics import quasi_newton


def descend(function, start, low, high, rounds=200, scale=1.0):
    """(points, values, rounds used) of the batched minimisation of `function`: (B, D) -> (B,)."""
    shape = (*start.shape, 1, 1)
    box = [ops.convert_to_tensor(np.broadcast_to(v, start.shape).astype("float32")) for v in (low, high)]
    state = quasi_newton.begin(ops.convert_to_tensor(start.reshape(shape).astype("float32")))

    def one(state):
        value, _, g = value_and_grad(
            lambda v: (function(ops.reshape(v, start.shape)), ops.zeros(())), state["x"]
        )
        now, verdict = quasi_newton.accept(state, value, g, *box)
        return quasi_newton.propose(now, verdict, *box, 0.0 * value + scale), state["x"], verdict.finished

    used, done, step = np.zeros(len(start), int), np.zeros(len(start), bool), compile(one)
    points, values = start.copy(), np.zeros(len(start))
    for _ in range(rounds):
        state, seen, finished = step(state)
        assert (np.asarray(seen) >= low).all() and (np.asarray(seen) <= np.asarray(box[1])).all()
        points = np.where(done[:, None], points, np.asarray(state["at"]).reshape(start.shape))
        values = np.where(done, values, np.asarray(state["value"]))
        used += ~done
        done |= np.asarray(finished)
        if done.all():
            break
    return points, values, used


def scipys(function, start, low, high):
    """(values, evaluations) of SciPy's L-BFGS-B; function: (row, point) -> (value, gradient)."""
    bounds = optimize.Bounds(np.full(start.shape[1], low), np.full(start.shape[1], high))
    found = [
        optimize.minimize(lambda v, i=i: function(i, v), row, jac=True, method="L-BFGS-B", bounds=bounds)
        for i, row in enumerate(start)
    ]
    return np.array([f.fun for f in found]), np.array([f.nfev for f in found])


@pytest.mark.parametrize("condition", [10, 1000])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-50.0, 50.0)])
def test_quadratics_end_where_scipys_do(condition, low, high):
    rng, size = np.random.default_rng(condition), 16
    q = np.linalg.qr(rng.normal(size=(8, size, size)))[0]
    a = q * np.exp(rng.uniform(0, np.log(condition), size=(8, 1, size))) @ np.swapaxes(q, 1, 2)
    t, start = rng.normal(size=(8, size)), rng.uniform(size=(8, size))
    a32, t32 = a.astype("float32"), t.astype("float32")

    def function(v):
        off = v - t32
        return 1.0 + 0.5 * ops.sum(off * ops.einsum("bij,bj->bi", a32, off), axis=1)

    _, values, used = descend(function, start, low, high)
    theirs, evaluations = scipys(
        lambda i, v: (1.0 + 0.5 * (v - t[i]) @ a[i] @ (v - t[i]), a[i] @ (v - t[i])), start, low, high
    )
    assert (values <= theirs * (1 + 2e-3)).all()
    assert (used < 200).all() and used.mean() <= 1.5 * evaluations.mean()


@pytest.mark.parametrize("high", [2.0, 0.7])
def test_rosenbrocks_valley(high, monkeypatch):
    monkeypatch.setattr(quasi_newton, "SMALL", 1e-7)  # the valley is flat
    start = np.clip(np.random.default_rng(1).uniform(-2, 2, size=(8, 4)), -2.0, high)

    def function(v):
        return ops.sum(
            100.0 * ops.square(v[:, 1:] - ops.square(v[:, :-1])) + ops.square(1.0 - v[:, :-1]), axis=1
        )

    points, values, used = descend(function, start, -2.0, high)
    theirs, _ = scipys(lambda i, v: (optimize.rosen(v), optimize.rosen_der(v)), start, -2.0, high)
    assert (values <= theirs + 1e-2).mean() >= 0.85 and (used < 200).all()  # there is a second valley
    np.testing.assert_allclose([optimize.rosen(v) for v in points], values, rtol=1e-3, atol=1e-5)


def test_a_round_bowl_takes_a_step_and_its_second_gradient():
    start = np.array([[0.4, 0.4], [0.2, 0.9]])
    points, values, used = descend(lambda v: ops.sum(ops.square(v - 0.5), axis=1), start, 0.0, 1.0, scale=0.5)
    np.testing.assert_allclose(points, 0.5, atol=1e-6)
    assert (used <= 3).all() and (values < 1e-10).all()


def test_a_wall_of_nan_is_stepped_back_from():
    def function(v):
        return ops.sum(ops.square(v - 3.0) - ops.log(1.0 - v), axis=1)  # NaN beyond 1

    points, _, used = descend(function, np.zeros((2, 3)), -9.0, 9.0)
    best = optimize.minimize_scalar(
        lambda v: (v - 3) ** 2 - np.log(1 - v), bounds=(0, 0.999), method="bounded"
    ).x
    np.testing.assert_allclose(points, best, atol=2e-3)
    assert (used < 60).all()


def test_constants_and_corners_end_at_once():
    _, _, used = descend(lambda v: 0.0 * ops.sum(v, axis=1) + 2.0, np.full((2, 3), 0.5), 0.0, 1.0)
    assert (used == 1).all()
    points, _, used = descend(lambda v: ops.sum(v, axis=1), np.zeros((2, 3)), 0.0, 1.0)
    assert (used == 1).all() and (points == 0).all()
