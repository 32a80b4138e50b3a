import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.backend import Net, value_and_grad
from keras_adv.defenses.mart import Mart, boosted_cross_entropy
from keras_adv.losses import cross_entropy


def softmax(z):
    e = np.exp(z.astype("float64") - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def boosted(z, y):
    p, rows = softmax(z), np.arange(len(y))
    rest = p.copy()
    rest[rows, y] = 0
    return -np.log(p[rows, y]) - np.log(1 - rest.max(1))


def terms(model, x, moved, y, **options):
    batch = {name: ops.convert_to_tensor(v) for name, v in (("x", x), ("adversarial", moved), ("y", y))}
    return Mart(**options).moves()[0].loss({"net": Net(model)}, batch)


def test_loss_is_the_formula_in_numpy(linear, grey):
    model, w, b = linear
    x, y = grey
    moved = np.clip(x + 0.2 * np.random.default_rng(0).normal(size=x.shape), 0, 1).astype("float32")
    got = terms(model, x, moved, y, weight=5.0)
    z, other = (v.reshape(len(v), -1) @ w + b for v in (x, moved))
    p, q = softmax(z), softmax(other)
    kl = (p * np.log(p / q)).sum(1) * (1 - p[np.arange(len(y)), y])
    np.testing.assert_allclose(got["boosted_cross_entropy"], boosted(other, y), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(got["kl"], 5 * kl, rtol=1e-3, atol=1e-5)
    assert kl.max() > 0.1


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_boosted_cross_entropy_in_numpy_and_its_gradient(classes):
    rng = np.random.default_rng(classes)
    z = 3 * rng.normal(size=(40, classes)).astype("float32")
    y = rng.integers(0, classes, 40).astype("int32")
    value, _, g = value_and_grad(lambda v: (boosted_cross_entropy(v, ops.convert_to_tensor(y)), None), z)
    np.testing.assert_allclose(value, boosted(z, y), rtol=1e-4, atol=1e-6)
    for k in range(classes):
        step = np.zeros_like(z, "float64")
        step[:, k] = 1e-6
        numeric = (boosted(z.astype("float64") + step, y) - boosted(z.astype("float64") - step, y)) / 2e-6
        np.testing.assert_allclose(np.asarray(g)[:, k], numeric, rtol=1e-3, atol=1e-5)


def test_two_classes_count_twice():
    z, y = np.float32([[1.0, -0.5], [0.3, 2.0]]), np.int32([0, 0])
    np.testing.assert_allclose(boosted_cross_entropy(z, y), 2 * np.asarray(cross_entropy(z, y)), rtol=1e-5)


def test_it_is_finite_with_a_gradient_where_probabilities_are_0_or_1():
    z = ops.convert_to_tensor(np.float32([[200, 0, -200], [-200, 200, 0], [0, 0, 0]]))
    y = ops.convert_to_tensor(np.int32([0, 0, 0]))
    value, _, g = value_and_grad(lambda v: (boosted_cross_entropy(v, y), None), z)
    # wrong by far: -log p_y = 400, -log(1 - p_1) = 200
    np.testing.assert_allclose(value, [0, 600, np.log(3) + np.log(1.5)], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(g)[1], [-1, 2, -1], atol=1e-5)
    assert np.isfinite(np.asarray(g)).all()


def test_sure_images_do_not_count_in_the_kl_and_wrong_ones_count_fully(linear, grey):
    model, w, b = linear
    x, y = grey
    scaled = Net(model).with_values([40 * ops.convert_to_tensor(w), 40 * ops.convert_to_tensor(b)])
    moved = np.clip(x + 0.05, 0, 1).astype("float32")
    z = np.asarray(scaled.logits(x))
    p = softmax(z)[np.arange(len(y)), y]
    worst = z.argmin(1).astype("int32")
    loss = Mart(weight=1.0).moves()[0].loss
    batch = {"x": x, "adversarial": moved, "y": ops.convert_to_tensor(y)}
    np.testing.assert_array_less(loss({"net": scaled}, batch)["kl"][p > 1 - 1e-12], 1e-6)
    full = loss({"net": scaled}, {**batch, "y": ops.convert_to_tensor(worst)})["kl"]
    q = np.asarray(scaled.logits(moved))
    kl = (softmax(z) * (np.log(softmax(z) + 1e-300) - np.log(softmax(q) + 1e-300))).sum(1)
    np.testing.assert_allclose(full, kl, rtol=1e-3, atol=1e-3)


def test_its_images_raise_the_cross_entropy_in_the_ball(net, digits):
    x, y = (ops.convert_to_tensor(part[:40]) for part in digits.train)
    moved = Mart().prepare({"net": Net(net)}, x, y, 0)["adversarial"]
    assert np.abs(np.asarray(moved) - np.asarray(x)).max() <= 0.1 + 1e-6
    ce = lambda v: np.asarray(cross_entropy(Net(net).logits(v), y)).mean()  # noqa: E731
    assert ce(moved) > 2 * ce(x)
    paper = registry.parse("defense", "mart_cifar")
    assert paper.attack.step_length * 10 == 2.5 and paper.weight == 5
