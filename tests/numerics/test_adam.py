"""Adam on a batch, each image at its own step, against the formula in float64."""

import numpy as np
from keras import ops

from keras_adv.numerics.adam import adam_moments


def in_float64(gradients):
    """(mean, root) of Adam after these gradients (Kingma & Ba, algorithm 1)."""
    m, v = 0.0, 0.0
    for g in gradients:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
    t = len(gradients)
    return m / (1 - 0.9**t), np.sqrt(v / (1 - 0.999**t)) + 1e-8


def test_each_image_is_at_its_own_step():
    gradients = np.random.default_rng(0).normal(size=(7, 3, 4, 4, 1))
    begins = np.array([0, 2, 5])  # the image comes in at this round
    m = v = ops.zeros((3, 4, 4, 1))
    for n, g in enumerate(gradients):
        fresh = ops.convert_to_tensor((n == begins).reshape(3, 1, 1, 1))
        m, v = (ops.where(fresh, 0.0, part) for part in (m, v))
        step = ops.convert_to_tensor(np.maximum(n - begins, 0).astype("int32"))
        mean, root, m, v = adam_moments(m, v, ops.convert_to_tensor(g.astype("float32")), step)
    for i, begin in enumerate(begins):
        expected = in_float64(gradients[begin:, i])
        np.testing.assert_allclose(np.asarray(mean)[i], expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(np.asarray(root)[i], expected[1], rtol=1e-4)


def test_the_first_step_has_length_one_in_every_value():
    g = ops.convert_to_tensor(np.float32([[3.0, -1e-3, 250.0]]))
    mean, root, _, _ = adam_moments(ops.zeros((1, 3)), ops.zeros((1, 3)), g, ops.zeros((1,), "int32"))
    np.testing.assert_allclose(mean / root, [[1.0, -1.0, 1.0]], rtol=1e-4)


def test_no_gradient_is_no_step():
    zero = ops.zeros((2, 3))
    mean, root, _, _ = adam_moments(zero, zero, zero, ops.zeros((2,), "int32"))
    np.testing.assert_array_equal(mean / root, np.zeros((2, 3)))
