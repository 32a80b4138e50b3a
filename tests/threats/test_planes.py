"""The nearest point of a plane inside the box, for every norm."""

import numpy as np
import pytest
from laws import SPECS, compiled, drawn, inner
from scipy import optimize


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


def problem(draw, count):
    """Images, normals of size about 1, and planes that meet the box: each passes through an image."""
    x, w = draw.images(count), draw.rng.normal(size=(count, 3, 3, 2)).astype("float32")
    return x, w, inner(w, draw.images(count)).astype("float32")


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@drawn(3)
def test_to_plane_reaches_the_plane_by_the_least_move(norm, draw):
    x, w, b = problem(draw, 6)
    out = compiled(norm, "project_to_plane")(x, w, b)
    size = compiled(norm, "norm")(out - x)
    for i in range(6):
        best = least(x[i].ravel().astype(float), w[i].ravel().astype(float), float(b[i]), norm)
        assert float(size[i]) == pytest.approx(best, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("spec", SPECS)
@drawn(20)
def test_to_plane_is_on_the_plane_in_the_box_and_no_other_point_is_nearer(spec, draw):
    x, w, b = problem(draw, 12)
    out = compiled(spec, "project_to_plane")(x, w, b)
    assert out.min() >= 0 and out.max() <= 1
    np.testing.assert_allclose(inner(w, out), b, atol=1e-5)
    if spec.startswith("l0"):  # its exact count is a law of its own
        return
    norm, size = compiled(spec, "norm"), compiled(spec, "norm")(out - x)
    for scale in (0.1, 0.5):  # other points of plane and box: from any point along the plane's own move
        other = compiled(spec, "project_to_plane")(np.clip(out + draw.delta(scale), 0, 1), w, b)
        assert (norm(other - x) >= size - 1e-5 * (1 + size)).all()


@pytest.mark.parametrize("spec", SPECS)
@drawn(5)
def test_to_plane_goes_to_the_nearest_corner_when_the_plane_misses_the_box(spec, draw):
    x, w, _ = problem(draw, 12)
    top = np.where(w > 0, 1.0, 0.0)
    beyond = (inner(w, top) + 1).astype("float32")
    np.testing.assert_allclose(compiled(spec, "project_to_plane")(x, w, beyond), top, atol=1e-5)


@pytest.mark.parametrize("pixels", [True, False])
@drawn(15)
def test_l0_to_plane_needs_no_more_than_every_smaller_set(pixels, draw):
    x, w, b = problem(draw, 12)
    spec = f"l0(pixels={pixels})"
    out = compiled(spec, "project_to_plane")(x, w, b)
    need = b - inner(w, x)
    gain = np.where(w * np.sign(need)[:, None, None, None] > 0, 1 - x, x) * np.abs(w)
    groups = np.sort(gain.reshape(len(x), -1, 2 if pixels else 1).sum(2), axis=1)[:, ::-1]
    fewest = (np.cumsum(groups, axis=1) < np.abs(need)[:, None] - 1e-6).sum(1) + 1
    assert (compiled(spec, "norm")(out - x) <= fewest).all()
