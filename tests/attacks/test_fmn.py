"""FMN: its text step by step, the ball before anything is found, and Foolbox. Its optimum:
`test_linear_optimum.py`."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from sampled import sampled
from scipy import optimize

from keras_adv import attack, registry, zoo
from keras_adv.attacks.task import Examples, Task

NORMS = {
    "linf": lambda v: np.abs(v).max(),
    "l2": np.linalg.norm,
    "l1": lambda v: np.abs(v).sum(),
    "l0": lambda v: float((v != 0).sum()),
}
DUALS = {"linf": NORMS["l1"], "l2": np.linalg.norm, "l1": NORMS["linf"], "l0": NORMS["linf"]}


def onto_ball(name, v, radius, x):
    """The nearest point of a ball; of l1 and l0 that of ball and box."""
    if name == "linf":
        return np.clip(v, -radius, radius)
    if name == "l2":
        return v * min(1.0, radius / max(np.linalg.norm(v), 1e-12))
    if name == "l0":
        worth = v**2 - (x + v - np.clip(x + v, 0, 1)) ** 2
        return np.where(np.argsort(np.argsort(-worth)) < radius, v, 0.0)
    room = np.where(v > 0, 1 - x, x)

    def shrunk(theta):
        return np.clip(np.abs(v) - theta, 0.0, room)

    if shrunk(0.0).sum() <= radius:
        return v
    return np.sign(v) * shrunk(optimize.brentq(lambda t: shrunk(t).sum() - radius, 0.0, np.abs(v).max()))


def written(name, w, x, y, steps):
    """The points and radii of algorithm 1 on the model u + 0.1 u^2, u = x w, one image; as said in the
    docstring. On a linear one the first ball ends at the boundary, where rounding decides."""
    r, radius, best = np.zeros_like(x), 1.0 if name == "l0" else 0.0, np.inf
    first = 10.0 if name == "linf" else 1.0
    path = []
    for k in range(steps):
        u = (x + r) @ w
        z, slopes = u + 0.1 * u**2, w * (1 + 0.2 * u)
        rival = max((j for j in range(len(z)) if j != y), key=lambda j: z[j])
        margin, g = z[rival] - z[y], slopes[:, rival] - slopes[:, y]
        share = (1 + math.cos(math.pi * k / steps)) / 2
        gamma = 0.001 + (0.05 - 0.001) * share
        if margin > 0:
            best = min(best, NORMS[name](r))
            less = radius * (1 - gamma)
            radius = min(radius - 1, math.floor(less)) if name == "l0" else less
            radius = max(min(radius, best), 0.0)
        else:
            more = radius * (1 + gamma)
            radius = max(radius + 1, math.floor(more)) if name == "l0" else more
            if best == np.inf and name != "l0":
                radius = max(radius, NORMS[name](r) - margin / DUALS[name](g))
        radius = min(radius, NORMS[name](np.maximum(x, 1 - x)))
        r = onto_ball(name, r + first * (0.01 + 0.99 * share) * g / np.linalg.norm(g), radius, x)
        r = np.clip(x + r, 0.0, 1.0) - x
        path.append((x + r, radius))
    return path


@pytest.mark.parametrize("name", sampled(NORMS, "l2"))
def test_every_step_is_the_texts(name):
    rng = np.random.default_rng(2)
    w, x, steps = rng.normal(size=(16, 4)), 0.3 + 0.4 * rng.random((3, 16)), 25
    y = (x @ w + 0.1 * (x @ w) ** 2).argmax(1)
    threat = "l0(pixels=False)" if name == "l0" else f"{name}()"
    one = registry.parse("attack", f"fmn(threat={threat}, steps={steps})")
    images = ops.convert_to_tensor(x.reshape(3, 4, 4, 1), "float32")
    weights = ops.convert_to_tensor(w, "float32")
    examples = Examples.of_batch(images, ops.convert_to_tensor(y, "int32"))

    def logits(v):
        u = ops.reshape(v, (-1, 16)) @ weights
        return u + 0.1 * ops.square(u)

    task = Task(logits, examples)
    state = one.begin(task)
    paths = [written(name, w, image, label, steps) for image, label in zip(x, y, strict=True)]
    for k in range(steps):
        state = {**one.step(task, state)[0], "k": state["k"] + 1}
        for row, path in enumerate(paths):
            at, radius = path[k]
            np.testing.assert_allclose(np.asarray(state["x"])[row].ravel(), at, atol=2e-4, err_msg=f"{k}")
            assert float(state["radius"][row]) == pytest.approx(radius, rel=1e-3)


def test_the_ball_does_not_shrink_before_something_is_found(digits):
    """By the text alone, a tenth of the images of this net keep their class, from one ball to the next."""
    net, (x, y) = zoo.load("critic_lenet_digits"), (part[:60] for part in digits.test)
    assert attack(net, x, y, "fmn(steps=60)").success.all()


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="Foolbox needs Keras on TensorFlow")
@pytest.mark.parametrize("name", NORMS)
def test_norms_are_not_larger_than_foolboxs(name, net, digits):
    fb = pytest.importorskip("foolbox")
    import tensorflow as tf

    x, y = digits.test[0][:100], digits.test[1][:100]
    kept = net.predict(x, verbose=0).argmax(1) == y
    x, y = x[kept], y[kept]
    theirs = getattr(fb.attacks, {"linf": "LInf"}.get(name, name.upper()) + "FMNAttack")(steps=100)
    model = fb.TensorFlowModel(net, bounds=(0, 1))
    _, found, hit = theirs(model, tf.constant(x), tf.constant(y, "int64"), epsilons=None)
    threat = "l0(pixels=False)" if name == "l0" else f"{name}()"
    ours, both = attack(net, x, y, f"fmn(threat={threat}, steps=100)"), np.asarray(hit)
    norms = np.array([NORMS[name](v) for v in (np.asarray(found) - x).reshape(len(x), -1)])
    assert ours.success.all() and ours.distance[both].mean() <= 1.01 * norms[both].mean()
