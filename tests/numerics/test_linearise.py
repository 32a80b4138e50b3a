"""The linearised boundary of a linear model is its boundary."""

import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.numerics.linearise import differences_to_rivals, logit_differences, near_classes, nearest_class

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 3)).astype("float32")
X = RNG.uniform(size=(5, 2, 2, 1)).astype("float32")
Y = np.int32([0, 1, 2, 0, 1])
Z = X.reshape(5, 4) @ W


def logits(v):
    return ops.matmul(ops.reshape(v, (-1, 4)), W)


@pytest.mark.parametrize("given", [True, False])
def test_differences_and_their_gradients(given):
    y = Y if given else Z.argmax(1)
    z, gaps, slopes = logit_differences(logits, ops.convert_to_tensor(X), Y if given else None)
    own = Z[np.arange(5), y]
    np.testing.assert_allclose(z, Z, rtol=1e-5)
    np.testing.assert_allclose(gaps, Z - own[:, None], rtol=1e-4, atol=1e-6)
    expected = W.T[None] - W.T[y][:, None]
    np.testing.assert_allclose(np.asarray(slopes).reshape(5, 3, 4), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("candidates", [1, 2, None])
def test_rivals_are_the_likeliest_wrong_classes(candidates):
    gaps, (z, classes) = differences_to_rivals(logits, ops.convert_to_tensor(Y), candidates)(X)
    np.testing.assert_allclose(z, Z, rtol=1e-5)
    others = np.where(np.arange(3) == Y[:, None], -np.inf, Z)
    count = candidates or 2
    likeliest = np.argsort(-others, axis=1)[:, :count]
    np.testing.assert_array_equal(np.sort(np.asarray(classes), axis=1), np.sort(likeliest, axis=1))
    own = Z[np.arange(5), Y][:, None]
    expected = np.take_along_axis(Z, np.asarray(classes), axis=1) - own
    np.testing.assert_allclose(gaps, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("candidates", [1, 2, 9])
def test_near_classes_are_the_likeliest_ones_the_nearest_first(candidates):
    threat, y = registry.parse("threat", "l2"), ops.convert_to_tensor(Y)
    found = np.asarray(near_classes(threat, logits, ops.convert_to_tensor(X), y, candidates))
    for i in range(5):
        likely = [j for j in np.argsort(-Z[i]) if j != Y[i]][:candidates]
        far = [abs(Z[i, j] - Z[i, Y[i]]) / np.linalg.norm(W[:, j] - W[:, Y[i]]) for j in likely]
        assert found[i].tolist() == [likely[k] for k in np.argsort(far)]


@pytest.mark.parametrize(("norm", "order"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_the_nearest_class_has_the_least_gap_for_its_slope(norm, order):
    _, gaps, slopes = logit_differences(logits, ops.convert_to_tensor(X), Y)
    nearest = nearest_class(registry.parse("threat", norm), ops.convert_to_tensor(Y), gaps, slopes)
    for i in range(5):
        others = [j for j in range(3) if j != Y[i]]
        far = [abs(Z[i, j] - Z[i, Y[i]]) / np.linalg.norm(W[:, j] - W[:, Y[i]], order) for j in others]
        assert int(nearest[i]) == others[int(np.argmin(far))]
