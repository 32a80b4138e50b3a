"""The laws of every norm."""

import numpy as np
import pytest
from keras import ops
from scipy import optimize

from keras_adv import noise, registry
from keras_adv.threats.l0 import two_thirds

SPECS = [
    "linf(eps=0.1)",
    "l2(eps=0.7)",
    "l1(eps=2.5)",
    "l0(eps=5, pixels=False, operator='l0')",
    "l0(eps=5, operator='l0')",
]
CONVEX = SPECS[:3]
RNG = np.random.default_rng(0)
X = RNG.random((6, 3, 3, 2)).astype("float32")


def make(spec):
    return registry.parse("threat", spec)


def draw(scale=1.0):
    return (scale * RNG.normal(size=X.shape)).astype("float32")


@pytest.mark.parametrize("spec", SPECS)
def test_projection_ends_in_ball_and_box(spec):
    threat = make(spec)
    for scale in (0.01, 0.3, 3.0):
        out = np.asarray(threat.project(X + draw(scale), X))
        assert (np.asarray(threat.norm(out - X)) <= threat.eps * (1 + 1e-5)).all()
        assert out.min() >= 0 and out.max() <= 1


@pytest.mark.parametrize("spec", SPECS)
def test_projection_is_idempotent(spec):
    threat = make(spec)
    once = threat.project(X + draw(), X)
    np.testing.assert_allclose(threat.project(once, X), once, atol=2e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_projection_is_the_identity_inside(spec):
    threat = make(spec)
    inside = np.asarray(threat.sample(X, noise.seeds(1, np.arange(6, dtype="uint32"))))
    np.testing.assert_allclose(threat.project(inside, X), inside, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_no_point_of_the_ball_is_nearer(spec):
    threat, delta = make(spec), draw()
    nearest = np.asarray(threat.shrink(delta))
    best = np.square(delta - nearest).reshape(6, -1).sum(1)
    for seed in range(200):
        other = np.asarray(threat.shrink(nearest + draw(0.05 if seed % 2 else 1.0)))
        assert (np.square(delta - other).reshape(6, -1).sum(1) >= best - 1e-5).all()


@pytest.mark.parametrize("spec", SPECS)
def test_steepest_attains_the_dual_norm(spec):
    threat, g = make(spec), draw()
    v = np.asarray(threat.steepest(g))
    assert (np.asarray(threat.norm(v)) <= 1 + 1e-5).all()
    np.testing.assert_allclose((v * g).reshape(6, -1).sum(1), threat.dual(g), rtol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_zero_gradient_gives_a_finite_step(spec):
    threat, zero = make(spec), np.zeros_like(X)
    for step in (threat.steepest(zero), threat.ascent(zero, X), threat.prox(zero, np.ones(6, "float32"))):
        np.testing.assert_array_equal(step, zero)


@pytest.mark.parametrize("spec", SPECS)
def test_eps_zero_leaves_only_the_origin(spec):
    threat = make(spec).replace(eps=0.0)
    np.testing.assert_allclose(threat.project(X + draw(), X), X, atol=1e-7)
    np.testing.assert_allclose(threat.sample(X, noise.seeds(0, np.arange(6))), X, atol=1e-7)


@pytest.mark.parametrize("spec", SPECS)
def test_sample_is_inside_and_belongs_to_its_seed(spec):
    threat, seeds = make(spec), np.asarray(noise.seeds(7, np.arange(6)))
    drawn = np.asarray(threat.sample(X, seeds))
    assert (np.asarray(threat.norm(drawn - X)) <= threat.eps * (1 + 1e-5)).all()
    assert np.abs(drawn - X).max() > 0
    order = [3, 1, 5, 0, 4, 2]
    np.testing.assert_allclose(threat.sample(X[order], seeds[order]), drawn[order], atol=1e-6)


def objective(threat, u, v, weight):
    return weight * np.asarray(threat.norm(u)) + np.square(u - v).reshape(6, -1).sum(1) / 2


@pytest.mark.parametrize("spec", SPECS)
def test_prox_is_the_minimiser(spec):
    threat, v = make(spec), draw(0.5)
    weight = np.linspace(0.01, 0.4, 6).astype("float32")
    best = np.asarray(threat.prox(v, weight))
    value = objective(threat, best, v, weight)
    candidates = [v, np.zeros_like(v)]
    candidates += [best + draw(0.1) * (RNG.random(v.shape) < 0.3) for _ in range(200)]
    candidates += [best * (RNG.random(v.shape) < 0.8) for _ in range(100)]
    for other in candidates:
        assert (objective(threat, other.astype("float32"), v, weight) >= value - 1e-5).all()


def test_the_closed_prox_in_a_metric_is_the_minimiser_and_what_rounds_of_the_plain_one_come_to():
    threat, v, metric = make("linf"), draw(0.5), 0.05 + 0.95 * RNG.random(draw().shape).astype("float32")
    metric /= metric.reshape(6, -1).max(1).reshape(6, 1, 1, 1)
    weight = np.linspace(0.01, 0.4, 6).astype("float32")
    best = np.asarray(threat.metric_prox(v, weight, metric))
    z = v
    for _ in range(300):
        z = np.asarray(threat.prox(z - metric * (z - v), weight))
    np.testing.assert_allclose(best, z, atol=1e-5)

    def value(u):
        return weight * np.asarray(threat.norm(u)) + (metric * np.square(u - v)).reshape(6, -1).sum(1) / 2

    others = [v, np.zeros_like(v)] + [best + draw(s) * (RNG.random(v.shape) < 0.3) for s in [0.1, 0.01] * 100]
    assert all((value(u.astype("float32")) >= value(best) - 1e-5).all() for u in others)
    np.testing.assert_allclose(
        threat.metric_prox(v, weight, np.ones_like(v)), threat.prox(v, weight), atol=1e-6
    )


def test_the_two_thirds_prox_is_the_global_minimiser():
    u, weight = (
        v.ravel().astype("float32") for v in np.meshgrid(np.linspace(0, 2, 81), [0.01, 0.1, 0.3, 0.7])
    )
    t = np.linspace(0, 2, 20001)[None]
    cost = weight[:, None] * t ** (2 / 3) + (t - u[:, None]) ** 2 / 2
    ours = np.asarray(two_thirds(ops.convert_to_tensor(u), ops.convert_to_tensor(weight)))
    reached = weight * ours ** (2 / 3) + (ours - u) ** 2 / 2
    np.testing.assert_allclose(reached, cost.min(1), atol=1e-5)
    # between 1.295 and 1.476 weight^0.75 the inner stationary point is only a local minimiser
    assert np.asarray(two_thirds(ops.convert_to_tensor([1.4]), ops.convert_to_tensor([1.0])))[0] == 0


def test_the_two_thirds_prox_of_pixels_goes_by_the_largest_channel():
    v = np.array([[[[1.0, -0.2], [0.1, 0.1]]]], "float32")
    made = np.asarray(make("l0(operator='l2/3')").prox(v, np.full(1, 0.1, "float32")))
    assert 0 < made[0, 0, 0, 0] < 1 and made[0, 0, 0, 1] == np.float32(-0.2) and (made[0, 0, 1] == 0).all()


@pytest.mark.parametrize(("norm", "ball"), [("l1", "linf"), ("l2", "l2"), ("linf", "l1")])
def test_moreau_prox_plus_dual_projection_is_the_identity(norm, ball):
    v, weight = draw(), np.full(6, 0.3, "float32")
    projected = registry.parse("threat", f"{ball}(eps=0.3)").shrink(v)
    np.testing.assert_allclose(np.asarray(make(norm).prox(v, weight)) + projected, v, atol=1e-5)


def least(x, w, b, norm):
    """The least norm of a move onto the plane inside the box, by an independent solver."""
    d = len(x)
    if norm == "l2":
        rule = {"type": "eq", "fun": lambda z: z @ w - b, "jac": lambda z: w}
        jac = {"jac": lambda z: 2 * (z - x), "bounds": [(0, 1)] * d, "constraints": rule}
        found = optimize.minimize(lambda z: ((z - x) ** 2).sum(), x, method="SLSQP", **jac)
        return np.sqrt(found.fun)
    count = d if norm == "l1" else 1  # variables: z, then |z - x| or its maximum
    bound = np.eye(d) if norm == "l1" else np.ones((d, 1))
    a = np.block([[np.eye(d), -bound], [-np.eye(d), -bound]])
    cost = np.concatenate([np.zeros(d), np.ones(count)])
    plane = np.concatenate([w, np.zeros(count)])[None]
    limits = [(0, 1)] * d + [(0, None)] * count
    return optimize.linprog(cost, a, np.concatenate([x, -x]), plane, [b], limits).fun


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_to_plane_reaches_the_plane_by_the_least_move(norm):
    threat, w = make(norm), draw()
    inside = RNG.random(X.shape).astype("float32")  # the plane passes through it, so it meets the box
    b = (w * inside).reshape(6, -1).sum(1)
    out = np.asarray(threat.to_plane(X, w, b))
    assert out.min() >= 0 and out.max() <= 1
    np.testing.assert_allclose((w * out).reshape(6, -1).sum(1), b, atol=1e-5)
    for i in range(6):
        best = least(X[i].ravel().astype(float), w[i].ravel().astype(float), float(b[i]), norm)
        assert float(np.asarray(threat.norm(out - X))[i]) == pytest.approx(best, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_to_plane_goes_to_the_nearest_corner_when_the_plane_misses_the_box(spec):
    w = draw()
    top = np.where(w > 0, 1.0, 0.0)
    beyond = ((w * top).reshape(6, -1).sum(1) + 1).astype("float32")
    np.testing.assert_allclose(make(spec).to_plane(X, w, beyond), top, atol=1e-5)


@pytest.mark.parametrize("pixels", [True, False])
def test_l0_to_plane_needs_no_more_than_every_smaller_set(pixels):
    threat, w = make(f"l0(pixels={pixels})"), draw()
    b = (w * RNG.random(X.shape)).reshape(6, -1).sum(1).astype("float32")
    out = np.asarray(threat.to_plane(X, w, b))
    np.testing.assert_allclose((w * out).reshape(6, -1).sum(1), b, atol=1e-5)
    need = b - (w * X).reshape(6, -1).sum(1)
    gain = np.where(w * np.sign(need)[:, None, None, None] > 0, 1 - X, X) * np.abs(w)
    groups = np.sort(gain.reshape(6, -1, 2 if pixels else 1).sum(2), axis=1)[:, ::-1]
    fewest = (np.cumsum(groups, axis=1) < np.abs(need)[:, None] - 1e-6).sum(1) + 1
    assert (np.asarray(threat.norm(out - X)) <= fewest).all()


def test_l1_ascent_leaves_pinned_coordinates_alone():
    threat = make("l1(eps=1, top=0.2)")
    x = np.ones((1, 3, 3, 1), "float32")
    g = np.ones_like(x)
    g[0, 0, 0, 0] = -0.5  # the only way that the box leaves open
    step = np.asarray(threat.ascent(g, x))
    assert step[0, 0, 0, 0] == pytest.approx(-1) and np.abs(step).sum() == pytest.approx(1)


def test_bounded_threats_need_an_eps():
    with pytest.raises(ValueError, match="`eps` must be given"):
        ops.convert_to_tensor(make("linf()").sample(X, noise.seeds(0, np.arange(6))))


@pytest.mark.parametrize("eps", [0.5, 1.2, 1.9, 2.5, 3.2])
def test_l1_projection_on_plateaus(eps):
    # far outside the box the sum is a staircase: its slope is 0 almost everywhere
    x = np.full((1, 8, 1, 1), 0.5, "float32")
    far = x + np.linspace(5, 40, 8).astype("float32").reshape(x.shape)
    moved = np.abs(np.asarray(make(f"l1(eps={eps})").project(far, x)) - x).sum()
    assert moved == pytest.approx(eps, rel=1e-4)
