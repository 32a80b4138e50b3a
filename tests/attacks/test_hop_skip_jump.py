"""HopSkipJump: decisions are all it sees; its estimate, its boundary points; Foolbox as oracle. Its optimum:
`test_linear_optimum.py`."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks import Examples, Task
from keras_adv.attacks.hop_skip_jump import ESTIMATE, STEP
from keras_adv.backend import Net, compile

W = np.random.default_rng(0).normal(size=(64,)).astype("float32")


def plane(v):
    """Logits of 8x8 images, of class 1 beyond a plane that noise crosses at times, and the grey image not."""
    z = ops.sum(ops.reshape(v - 0.5, (-1, 64)) * W, axis=1) - 0.8
    return ops.stack([-z, z], axis=1)


def task_of(x):
    return Task(plane, Examples.of_batch(x, ops.zeros_like(x[:, 0, 0, 0], dtype="int32"), 0))


@pytest.fixture(scope="module", params=["l2", "linf"])
def halted(request):
    """The state of eight grey images after 400 queries, which leaves them at different rounds of the walk."""
    one = registry.parse("attack", f"hop_skip_jump(threat={request.param}(), initial=50, steps=2000)")
    x = np.full((8, 8, 8, 1), 0.5, "float32")

    def run(x):
        task = task_of(x)
        return one.advance(task, one.begin(task), 400)

    return request.param, x, {name: np.asarray(v) for name, v in compile(run)(x).items()}


def test_draws_of_an_estimate_start_from_a_mistake_at_the_boundary(halted):
    norm, x, state = halted
    at = np.isin(state["phase"], (ESTIMATE, STEP))
    assert at.sum() >= 4 and len(set(state["t"][at])) > 1
    z = np.asarray(plane(state["point"]))[:, 1]
    distance = np.linalg.norm((state["point"] - x).reshape(8, -1), 2 if norm == "l2" else np.inf, axis=1)
    np.testing.assert_allclose(state["d"][at], distance[at], rtol=1e-4)
    slope = (np.linalg.norm(W) if norm == "l2" else np.abs(W).sum()) * distance
    assert (z[at] > -1e-5).all() and (z[at] < 0.01 * slope[at]).all()
    assert (state["best_norm"] <= distance * (1 + 1e-4))[at].all()


def test_an_estimate_points_along_the_gradient():
    one = registry.parse("attack", "hop_skip_jump(initial=2000, steps=9000)")
    x = np.full((8, 8, 8, 1), 0.5, "float32")

    def run(x):
        task = task_of(x)
        first = one.begin(task)
        at_boundary = {**first, "phase": first["phase"] + ESTIMATE, "estimates": first["phase"] + 1}
        on_it = ops.reshape(W, (1, 8, 8, 1)) * (0.8 / float(np.square(W).sum()))
        at_boundary["point"] = first["point"] + on_it
        return one.advance(task, at_boundary, 2000)

    state = compile(run)(x)
    assert (np.asarray(state["phase"]) == STEP).all()
    v = np.asarray(state["v"]).reshape(8, -1)
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1.0, rtol=1e-5)
    # of n draws in D dimensions the cosine is about 1 / sqrt(1 + pi D / 2 n)
    assert (v @ W / np.linalg.norm(W) > 0.95).all()


def test_sees_decisions_only(net, images):
    x, y = (part[:8] for part in images)
    logits = Net(net, frozen=True).logits
    one = registry.parse("attack", "hop_skip_jump(initial=10, steps=60)")
    first = one(logits, x, y)
    second = one(lambda v: ops.one_hot(ops.argmax(logits(v), axis=1), 10), x, y)
    np.testing.assert_array_equal(first.images, second.images)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
def test_is_as_near_as_foolbox_at_equal_queries(norm, net, digits):
    fb = pytest.importorskip("foolbox")
    import tensorflow as tf

    x, y = digits.test[0][:24], digits.test[1][:24]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    calls = []
    graph = tf.function(lambda v: net(v, training=False))
    counted = fb.TensorFlowModel(net, bounds=(0, 1))
    counted._model = lambda v: calls.append(1) or graph(v)
    one = fb.attacks.HopSkipJumpAttack(steps=5, initial_gradient_eval_steps=30, constraint=norm)
    theirs = []
    for n in range(len(x)):  # in a batch it divides the direction by the length of all images' together
        here = slice(n, n + 1)
        _, image, _ = one(counted, tf.constant(x[here]), tf.constant(y[here], "int64"), epsilons=None)
        theirs.append(np.linalg.norm(np.ravel(image - x[here]), 2 if norm == "l2" else np.inf))
    queries = len(calls) // len(x)
    runs = [
        attack(net, x, y, f"hop_skip_jump(threat={norm}(), initial=30, steps={queries})", seed=s)
        for s in (0, 1)
    ]
    assert all(run.success.all() for run in runs)
    ours = np.mean([run.distance for run in runs], axis=0)
    assert np.median(ours) <= 1.05 * np.median(theirs)
    assert np.median(ours / theirs) <= 1.05
