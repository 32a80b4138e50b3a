"""What the laws of the norms share: the norms, images, and seeds that hypothesis draws."""

import functools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_adv import registry
from keras_adv.backend import compile

SPECS = [
    "linf(eps=0.1)",
    "l2(eps=0.7)",
    "l1(eps=2.5)",
    "l0(eps=5, pixels=False, operator='l0')",
    "l0(eps=5, operator='l0')",
]
SHAPE = (3, 3, 2)
COUNT = 12
"""Images of a batch."""


def make(spec):
    return registry.parse("threat", spec)


@functools.cache
def compiled(spec, method):
    """A method of a norm as one graph: it is asked again for every seed."""
    one = getattr(make(spec), method)
    run = compile(lambda *tensors: one(*tensors))
    return lambda *arrays: np.asarray(run(*arrays))


class Draw:
    """Images and directions that follow from one number."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def images(self, count=COUNT):
        """In the box, some of their values at its edges."""
        return np.clip(self.rng.uniform(-0.2, 1.2, size=(count, *SHAPE)), 0, 1).astype("float32")

    def delta(self, scale=1.0, count=COUNT):
        """Gaussian, each image of its own size."""
        sizes = scale * np.exp(self.rng.uniform(-1.5, 1.5, size=(count, 1, 1, 1)))
        return (sizes * self.rng.normal(size=(count, *SHAPE))).astype("float32")

    def mask(self, share, count=COUNT):
        return self.rng.random((count, *SHAPE)) < share


def drawn(examples):
    """Decorator: the test gets a `Draw` for each of so many seeds, always the same ones."""

    def decorate(test):
        law = given(draw=st.integers(0, 2**32 - 1).map(Draw))(test)
        return settings(max_examples=examples, deadline=None, derandomize=True, database=None)(law)

    return decorate


def squares(v):
    """(B,) squared l2 norms."""
    return np.square(v, dtype="float64").reshape(len(v), -1).sum(1)


def inner(v, w):
    """(B,) inner products."""
    return (v.astype("float64") * w).reshape(len(v), -1).sum(1)
