"""Linear models whose nearest mistakes are known in closed form."""

import contextlib

import numpy as np
from keras import ops

from keras_adv.attacks import Examples, Task
from keras_adv.attacks.task import as_logits

DUAL = {
    "linf": lambda v: np.abs(v).sum(),
    "l2": lambda v: np.sqrt((v**2).sum()),
    "l1": lambda v: np.abs(v).max(),
}
"""Norm -> the dual norm of a vector."""


def gaps(linear, x, y):
    """For each image (z_y - z_j, w_y - w_j) of a linear model, for every j but y in order."""
    _, w, b = linear
    z = x.reshape(len(x), -1) @ w + b
    rows = []
    for i in range(len(x)):
        others = [j for j in range(w.shape[1]) if j != y[i]]
        rows.append([(z[i, y[i]] - z[i, j], w[:, y[i]] - w[:, j]) for j in others])
    return rows


def nearest(linear, x, y, norm):
    """(B,) distances to the nearest of the model's boundaries, where the box does not bind."""
    return np.array([min(gap / DUAL[norm](w) for gap, w in row) for row in gaps(linear, x, y)])


def to_the_boundary(linear, x, threat):
    """(B,) distances to the boundary between the first two classes, inside the box."""
    _, w, b = linear
    normal = np.broadcast_to((w[:, 0] - w[:, 1]).reshape(x.shape[1:]), x.shape)
    plane = threat.project_to_plane(x, normal, np.full(len(x), b[1] - b[0], "float32"))
    return np.asarray(threat.norm(plane - x))


@contextlib.contextmanager
def only_two_classes(linear):
    """The linear model with one boundary, the other classes out of reach. What was compiled stays valid."""
    model, w, b = linear
    first = np.arange(len(b)) < 2
    model.layers[-1].set_weights([w * first, np.where(first, b, -60.0)])  # no image of the box gets as low
    try:
        yield model, w[:, :2], b[:2]
    finally:
        model.layers[-1].set_weights([w, b])


def two_classes(w, lead):
    """Logits (<w, v - 1/2> + lead, -<w, v - 1/2>) of 8x8 images: with a large lead none is ever fooled."""

    def logits(v):
        z = ops.sum(ops.reshape(v - 0.5, (-1, 64)) * w, axis=1)
        return ops.stack([z + lead, -z], axis=1)

    return logits


def gain(w, x, images):
    """The mean of <w, x - images>: what an attack on `two_classes` takes from the margin."""
    return ((x - np.asarray(images)).reshape(len(x), -1) @ w).mean()


def task_of(model, x, y=None, seed=0, **goals):
    """The task of a batch: labels 0 unless they are given."""
    x = ops.convert_to_tensor(np.asarray(x, "float32"))
    y = ops.zeros(x.shape[0], "int32") if y is None else ops.convert_to_tensor(np.asarray(y, "int32"))
    return Task(as_logits(model), Examples.of_batch(x, y, seed, **goals).as_tensors())
