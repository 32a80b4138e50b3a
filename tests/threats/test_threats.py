"""The laws of every norm: projections, steepest directions, samples, and proximal operators."""

import itertools

import numpy as np
import pytest
from keras import ops
from laws import COUNT, SPECS, compiled, drawn, inner, make, squares
from sampled import sampled

from keras_adv import noise
from keras_adv.threats.l0 import two_thirds

DENSE = "l1(eps=2.5, dense=True)"
WEIGHT = np.linspace(0.01, 0.4, COUNT).astype("float32")


@pytest.mark.parametrize("spec", [*SPECS, DENSE])
@drawn(20)
def test_projection_ends_in_ball_and_box_and_is_idempotent(spec, draw):
    threat, x = make(spec), draw.images()
    once = compiled(spec, "project")(x + draw.delta(0.5), x)
    assert (compiled(spec, "norm")(once - x) <= threat.eps * (1 + 1e-5)).all()
    assert once.min() >= 0 and once.max() <= 1
    np.testing.assert_allclose(compiled(spec, "project")(once, x), once, atol=2e-6)


@pytest.mark.parametrize("spec", [*SPECS, DENSE])
@drawn(20)
def test_samples_are_inside_where_the_projection_is_the_identity(spec, draw):
    threat, x = make(spec), draw.images()
    seeds = draw.rng.integers(0, 2**32, size=COUNT, dtype="uint32")
    inside = compiled(spec, "sample")(x, seeds)
    assert (compiled(spec, "norm")(inside - x) <= threat.eps * (1 + 1e-5)).all()
    assert inside.min() >= 0 and inside.max() <= 1 and np.abs(inside - x).max() > 0
    np.testing.assert_allclose(compiled(spec, "project")(inside, x), inside, atol=1e-6)
    order = draw.rng.permutation(COUNT)  # a sample belongs to its seed
    np.testing.assert_allclose(compiled(spec, "sample")(x[order], seeds[order]), inside[order], atol=1e-6)


@pytest.mark.parametrize("spec", SPECS)
@drawn(25)
def test_no_point_of_the_ball_is_nearer(spec, draw):
    project, delta = compiled(spec, "project_to_ball"), draw.delta()
    nearest = project(delta)
    best = squares(delta - nearest)
    for scale in (0.02, 0.1, 0.3, 1.0):
        other = project(nearest + draw.delta(scale))
        assert (squares(delta - other) >= best - 1e-5 * (1 + best)).all()


@pytest.mark.parametrize(("pixels", "count"), [(True, 3), (False, 2)])
@drawn(5)
def test_l0_with_the_box_is_the_best_of_all_sets_of_so_many(pixels, count, draw):
    """The projection of PGD_0 (arXiv:1909.05040, sec. 3)."""
    x = draw.images()
    far = x + draw.delta(0.5)
    made = compiled(f"l0(eps={count}, pixels={pixels})", "project")(far, x)
    moved = np.square(far - x).reshape(COUNT, -1, 2 if pixels else 1).sum(2)
    boxed = np.square(far - np.clip(far, 0, 1)).reshape(moved.shape[0], moved.shape[1], -1).sum(2)
    sets = itertools.combinations(range(moved.shape[1]), count)
    least = np.min([moved.sum(1) - (moved - boxed)[:, list(one)].sum(1) for one in sets], axis=0)
    np.testing.assert_allclose(squares(far - made), least, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
@drawn(20)
def test_steepest_attains_the_dual_norm(spec, draw):
    g = draw.delta()
    v, dual = compiled(spec, "steepest")(g), compiled(spec, "dual")(g)
    assert (compiled(spec, "norm")(v) <= 1 + 1e-5).all()
    np.testing.assert_allclose(inner(v, g), dual, rtol=1e-5)
    other = compiled(spec, "steepest")(draw.delta())  # and no other direction of norm 1 gains more
    assert (inner(other, g) <= dual * (1 + 1e-5)).all()


@pytest.mark.parametrize("spec", SPECS)
@drawn(20)
def test_prox_is_the_minimiser(spec, draw):
    norm, v = compiled(spec, "norm"), draw.delta(0.5)
    best = compiled(spec, "prox")(v, WEIGHT)

    def objective(u):
        u = u.astype("float32")
        return WEIGHT * norm(u) + squares(u - v) / 2

    value = objective(best)
    others = [v, np.zeros_like(v)]
    others += [best + draw.delta(scale) * draw.mask(0.3) for scale in (0.01, 0.05, 0.2) * 3]
    others += [best * draw.mask(0.8) for _ in range(4)]
    for other in others:
        assert (objective(other) >= value - 1e-5 * (1 + value)).all()


@pytest.mark.parametrize(("norm", "ball"), [("l1", "linf"), ("l2", "l2"), ("linf", "l1")])
@drawn(15)
def test_moreau_prox_plus_dual_projection_is_the_identity(norm, ball, draw):
    v = draw.delta()
    projected = compiled(f"{ball}(eps=0.3)", "project_to_ball")(v)
    kept = compiled(norm, "prox")(v, np.full(COUNT, 0.3, "float32"))
    np.testing.assert_allclose(kept + projected, v, atol=1e-5)


@pytest.mark.parametrize("spec", sampled(SPECS, *(one for one in SPECS if not one.startswith("l1"))))
@drawn(5)
def test_eps_zero_leaves_only_the_origin(spec, draw):
    threat, x = make(spec).replace(eps=0.0), draw.images()
    np.testing.assert_allclose(threat.project(x + draw.delta(), x), x, atol=1e-7)
    np.testing.assert_allclose(threat.sample(x, noise.seeds(0, np.arange(COUNT))), x, atol=1e-7)


@pytest.mark.parametrize("spec", SPECS)
def test_zero_gradient_gives_a_finite_step(spec):
    threat, zero = make(spec), np.zeros((6, 3, 3, 2), "float32")
    for step in (threat.steepest(zero), threat.ascent(zero, zero + 0.5), threat.prox(zero, WEIGHT[:6])):
        np.testing.assert_array_equal(step, zero)


@drawn(8)
def test_the_closed_prox_in_a_metric_is_the_minimiser_and_what_rounds_of_the_plain_one_come_to(draw):
    v, prox = draw.delta(0.5), compiled("linf", "prox")
    metric = (0.05 + 0.95 * draw.rng.random(v.shape)).astype("float32")
    metric /= metric.reshape(COUNT, -1).max(1).reshape(COUNT, 1, 1, 1)
    best = compiled("linf", "metric_prox")(v, WEIGHT, metric)
    z = v
    for _ in range(300):
        z = prox(z - metric * (z - v), WEIGHT)
    np.testing.assert_allclose(best, z, atol=1e-5)

    def value(u):
        u = u.astype("float32")
        return WEIGHT * compiled("linf", "norm")(u) + inner(metric, np.square(u - v)) / 2

    others = [v, np.zeros_like(v)]
    others += [best + draw.delta(scale) * draw.mask(0.3) for scale in (0.1, 0.01) * 10]
    assert all((value(u) >= value(best) - 1e-5).all() for u in others)
    plain = compiled("linf", "metric_prox")(v, WEIGHT, np.ones_like(v))
    np.testing.assert_allclose(plain, prox(v, WEIGHT), atol=1e-6)


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


def test_the_two_thirds_prox_does_not_cancel_at_small_weights():
    got = two_thirds(ops.convert_to_tensor([1.4851]), ops.convert_to_tensor([2e-5]))
    assert float(np.asarray(got)[0]) == pytest.approx(1.4851 - 2 / 3 * 2e-5 / 1.4851 ** (1 / 3), abs=2e-6)


def test_the_two_thirds_prox_of_pixels_goes_by_the_largest_channel():
    v = np.array([[[[1.0, -0.2], [0.1, 0.1]]]], "float32")
    made = np.asarray(make("l0(operator='l2/3')").prox(v, np.full(1, 0.1, "float32")))
    assert 0 < made[0, 0, 0, 0] < 1 and made[0, 0, 0, 1] == np.float32(-0.2) and (made[0, 0, 1] == 0).all()


def test_l1_ascent_leaves_pinned_coordinates_alone():
    threat = make("l1(eps=1, top=0.2)")
    x = np.ones((1, 3, 3, 1), "float32")
    g = np.ones_like(x)
    g[0, 0, 0, 0] = -0.5  # the only way that the box leaves open
    step = np.asarray(threat.ascent(g, x))
    assert step[0, 0, 0, 0] == pytest.approx(-1) and np.abs(step).sum() == pytest.approx(1)


@drawn(5)
def test_dense_l1_steps_along_the_gradient_and_shrinks_to_the_sphere(draw):
    g, x, way = draw.delta(), draw.images(), draw.delta(2.0)
    length = np.abs(g).sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(compiled(DENSE, "ascent")(g, x), g / length, atol=1e-6)
    size = np.abs(way).sum((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(
        compiled(DENSE, "project")(x + way, x), np.clip(x + way * np.minimum(2.5 / size, 1), 0, 1), atol=2e-6
    )


def test_bounded_threats_need_an_eps():
    x = np.zeros((6, 3, 3, 2), "float32")
    with pytest.raises(ValueError, match="`eps` must be given"):
        make("linf()").sample(x, noise.seeds(0, np.arange(6)))


@pytest.mark.parametrize("eps", [0.5, 1.2, 1.9, 2.5, 3.2])
def test_l1_projection_on_plateaus(eps):
    # far outside the box the sum is a staircase: its slope is 0 almost everywhere
    x = np.full((1, 8, 1, 1), 0.5, "float32")
    far = x + np.linspace(5, 40, 8).astype("float32").reshape(x.shape)
    moved = np.abs(np.asarray(make(f"l1(eps={eps})").project(far, x)) - x).sum()
    assert moved == pytest.approx(eps, rel=1e-4)
