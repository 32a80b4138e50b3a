"""Centres that lie as far apart as they can."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_adv import InvalidInput
from keras_adv.numerics.simplex import largest_cosine, simplex


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    classes=st.integers(min_value=2, max_value=60),
    spare=st.integers(min_value=0, max_value=70),
    scale=st.floats(min_value=0.1, max_value=100.0),
)
def test_gram_of_the_simplex(classes, spare, scale):
    """With classes - 1 dimensions or more every pair of centres has the same, smallest possible cosine."""
    centres = simplex(classes, classes - 1 + spare, scale)
    assert centres.shape == (classes, classes - 1 + spare)
    want = (1 + 1 / (classes - 1)) * np.eye(classes) - 1 / (classes - 1)
    np.testing.assert_allclose(centres @ centres.T / scale**2, want, atol=1e-12)


def test_the_simplex_is_that_of_the_released_recipe():
    m = np.zeros((6, 8))
    m[0, 0] = 1
    for k in range(1, 6):
        for j in range(k):
            m[k, j] = -(1 / 5 + m[k] @ m[j]) / m[j, j]
        m[k, k] = np.sqrt(abs(1 - m[k] @ m[k]))
    np.testing.assert_allclose(simplex(6, 8, 3.0), 3 * m, atol=1e-7)


@pytest.mark.parametrize(
    ("classes", "dim", "least"),
    [
        (5, 2, np.cos(2 * np.pi / 5)),  # regular polygons
        (10, 2, np.cos(2 * np.pi / 10)),
        (5, 3, 0.0),  # Rankin: 0 for dim + 2 .. 2 dim points
        (10, 5, 0.0),
        (100, 64, 0.0),
        (12, 3, 1 / np.sqrt(5)),  # icosahedron
        (27, 6, 0.25),  # Schlaefli's polytope
    ],
)
def test_too_few_dimensions_are_used_as_well_as_can_be(classes, dim, least):
    centres = simplex(classes, dim, 2.0)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 2.0, rtol=1e-12)
    assert largest_cosine(centres) == pytest.approx(least, abs=2e-3)
    np.testing.assert_array_equal(centres, simplex(classes, dim, 2.0))


def test_a_caller_cannot_spoil_the_centres_of_the_next():
    simplex(4, 7)[:] = 0.0
    assert largest_cosine(simplex(4, 7)) == pytest.approx(-1 / 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 4), "`classes`"),
        ((3, 1), "`dim`"),
        ((3, 0), "`dim`"),
        ((3, 2.5), "`dim`"),
        ((3, 2, 0.0), "`scale`"),
    ],
)
def test_impossible_centres_are_refused(given, message):
    with pytest.raises(InvalidInput, match=message):
        simplex(*given)
