"""Adam on a batch of variables, each image at its own step."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, expand_like


def adam_moments(m: Tensor, v: Tensor, g: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(unbiased mean, root of the unbiased mean square + 1e-8, new m, new v); betas 0.9 and 0.999.

    The step of Adam is lr * mean / root (Kingma & Ba, arXiv:1412.6980, algorithm 1).

    Args:
        m: (B, ...) running mean of gradients, 0 at first.
        v: (B, ...) running mean of their squares, 0 at first.
        g: (B, ...) the gradient.
        step: (B,) int32 steps taken before this one.
    """
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * ops.square(g)
    t = expand_like(ops.cast(step, "float32") + 1.0, g)
    root = ops.sqrt(v / (1.0 - ops.power(0.999, t))) + 1e-8
    return m / (1.0 - ops.power(0.9, t)), root, m, v
