"""The step of Brendel & Bethge against nested bisection in float64."""

import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import threats
from keras_adv.attacks.brendel_bethge.step import advance, halfway, move

COUNT, SIZE = 12, 30
NORMS = {"linf": np.inf, "l2": 2, "l1": 1}
LOOSEST = {"linf": 1.0, "l2": 0.0, "l1": 0.0}
TIGHTEST = {"linf": 0.0, "l2": 1.0, "l1": 3e3}
THREATS = {"linf": threats.Linf(), "l2": threats.L2(), "l1": threats.L1(), "l0": threats.L0()}


def problems(seed=0, channels=1):
    rng = np.random.default_rng(seed)
    shape = (COUNT, SIZE // channels, 1, channels)
    origin = np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1)
    x = np.clip(origin + rng.normal(size=shape) * 0.4, 0, 1)
    b = rng.normal(size=shape)
    room = np.where(b > 0, 1 - x, x)
    c = 0.2 * (np.abs(b) * room).sum((1, 2, 3)) * rng.uniform(0.1, 1, COUNT)
    return tuple(v.astype("float32") for v in (origin, x, b, c))


def on_plane(d_of, b, c):
    """The d of the curve with <b, d> = c."""
    low, high = -1e7, 1e7
    if b @ d_of(low) > c or b @ d_of(high) < c:
        return None
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if b @ d_of(middle) < c else (low, middle)
    return d_of((low + high) / 2)


def slow(name, u, b, c, low, high, r):
    """The best step, or None where the plane is out of reach."""
    curves = {
        "l2": lambda s, k: np.clip(k * u + s * b, low, high),
        "l1": lambda s, k: np.clip(np.clip(u, s * b - k, s * b + k), low, high),
        "linf": lambda s, k: np.clip(np.clip(s * b, u - k, u + k), low, high),
    }
    inside, outside, best = LOOSEST[name], TIGHTEST[name], None
    for k in [inside, outside] + [None] * 50:
        k = (inside + outside) / 2 if k is None else k
        d = on_plane(lambda s, k=k: curves[name](s, k), b, c)
        if d is not None and np.linalg.norm(d) <= r:
            inside, best = k, d
        elif k == LOOSEST[name]:
            return None
        if inside == outside:
            break
    return best


@pytest.mark.parametrize("radius", sampled([0.4, 1.0, 3.0, 100.0], 0.4))
@pytest.mark.parametrize("name", NORMS)
def test_step_is_the_best_one(name, radius):
    origin, x, b, c = problems()
    r = np.full(COUNT, radius, "float32")
    new = np.asarray(move(THREATS[name], *(ops.convert_to_tensor(v) for v in (origin, x, b, c, r))))
    assert new.min() >= 0 and new.max() <= 1
    flat = [v.reshape(COUNT, -1).astype("float64") for v in (origin, x, b, new)]
    for o, now, w, after, need in zip(*flat, c.astype("float64"), strict=True):
        d, best = after - now, slow(name, o - now, w, need, -now, 1 - now, radius)
        assert np.linalg.norm(d) <= radius * 1.002
        if best is None:
            assert w @ d < need
        else:
            assert w @ d == pytest.approx(need, rel=1e-3, abs=1e-4)
            left, most = (np.linalg.norm(v + now - o, NORMS[name]) for v in (d, best))
            way = np.linalg.norm(now - o, NORMS[name])
            assert left <= most + 0.02 * abs(way - most) + 1e-4


@pytest.mark.parametrize("radius", sampled([0.4, 1.0, 3.0], 1.0))
def test_where_the_last_step_ended_only_saves_time(radius):
    origin, x, b, c = (ops.convert_to_tensor(v) for v in problems())
    r = ops.zeros_like(c) + radius
    wanted = threats.L2().norm(move(threats.L2(), origin, x, b, c, r) - origin)
    last = ops.zeros((COUNT, 2))
    for start in (last, last + 0.5, last - 7.0, 1e4 * (last + 1.0)):
        new, last = advance(threats.L2(), origin, x, b, c, r, start)
        np.testing.assert_allclose(threats.L2().norm(new - origin), wanted, rtol=2e-2)
    again, _ = advance(threats.L2(), origin, x, b, c, r, last)
    np.testing.assert_allclose(again, new, atol=1e-2)


@pytest.mark.parametrize("name", THREATS)
def test_out_of_reach_it_goes_as_far_as_it_can(name):
    origin, x, b, _ = problems(1)
    far = np.full(COUNT, 1e4, "float32")
    for radius in (0.3, 50.0):
        r = np.full(COUNT, radius, "float32")
        new = np.asarray(move(THREATS[name], *(ops.convert_to_tensor(v) for v in (origin, x, b, far, r))))
        gained = ((new - x) * b).sum((1, 2, 3))
        room = np.where(b > 0, 1 - x, x)
        if radius > SIZE:
            np.testing.assert_allclose(gained, (np.abs(b) * room).sum((1, 2, 3)), rtol=1e-4)
        else:
            d = np.linalg.norm((new - x).reshape(COUNT, -1), axis=1)
            np.testing.assert_allclose(d, radius, rtol=1e-3)
            other = np.sign(b) * np.minimum(room, radius / np.sqrt(SIZE))
            assert (gained >= (other * b).sum((1, 2, 3)) - 1e-4).all()


def test_l0_without_a_trust_region_changes_the_fewest_values():
    origin, x, b, c = problems(2)
    r = np.full(COUNT, 1e3, "float32")
    new = np.asarray(move(threats.L0(), *(ops.convert_to_tensor(v) for v in (origin, x, b, c, r))))
    for o, now, w, after, need in zip(
        *(v.reshape(COUNT, -1).astype("float64") for v in (origin, x, b, new)), c, strict=True
    ):
        goal = need - w @ (o - now)
        room = np.where(w * goal > 0, 1 - o, o)
        fewest = int((np.cumsum(-np.sort(-np.abs(w) * room)) < abs(goal)).sum()) + 1
        assert w @ (after - now) == pytest.approx(need, rel=1e-3, abs=1e-3)
        assert (after != o).sum() <= fewest


@pytest.mark.parametrize("radius", sampled([0.4, 1.0, 3.0], 1.0))
def test_l0_puts_values_back_and_stays_inside(radius):
    origin, x, b, c = problems(3)
    r = np.full(COUNT, radius, "float32")
    new = np.asarray(move(threats.L0(), *(ops.convert_to_tensor(v) for v in (origin, x, b, c * 0.2, r))))
    d = (new - x).reshape(COUNT, -1)
    assert (np.linalg.norm(d, axis=1) <= radius * 1.002).all()
    assert (new != origin).sum() < (x != origin).sum()


def test_l0_counts_pixels():
    origin, x, b, c = problems(4, channels=3)
    r = np.full(COUNT, 1e3, "float32")
    pixels, values = (
        np.asarray(move(threats.L0(pixels=p), *(ops.convert_to_tensor(v) for v in (origin, x, b, c, r))))
        for p in (True, False)
    )
    count = threats.L0().norm
    assert np.asarray(count(pixels - origin)).sum() <= np.asarray(count(values - origin)).sum()


@pytest.mark.parametrize("name", THREATS)
def test_no_gradient_gives_no_nan(name):
    origin, x, b, c = problems()
    r = np.ones(COUNT, "float32")
    for need in (0 * c, c):
        new = move(THREATS[name], *(ops.convert_to_tensor(v) for v in (origin, x, 0 * b, need, r)))
        assert np.isfinite(np.asarray(new)).all()


@pytest.mark.parametrize("name", THREATS)
def test_halfway_runs_from_x_to_the_far_image(name):
    x, far, _, _ = problems()
    for share, end in ((0.0, x), (1.0, far)):
        got = halfway(
            THREATS[name], ops.convert_to_tensor(x), ops.convert_to_tensor(far), ops.full((COUNT,), share)
        )
        np.testing.assert_allclose(np.asarray(got), end, atol=1e-6)
