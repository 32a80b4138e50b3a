import threading

import keras
import numpy as np
import pytest

from keras_adv.attacks.rendezvous import Enough, minimise, together
from keras_adv.evaluation import attack


def bowl(points):
    """|v - row|^2 and its gradient, for row 0, 1, ..."""
    off = points - np.arange(len(points), dtype="float32").reshape(-1, 1)
    return np.square(off).sum(1), 2 * off


def test_every_search_gets_its_own_row_of_one_batch():
    shapes = []

    def evaluate(points):
        shapes.append(points.shape)
        return bowl(points)

    def search(row, ask):
        seen = []

        def objective(point, answer):
            seen.append(point)
            return float(answer[0]), answer[1]

        minimise(ask, objective, np.zeros(2, "float32"), np.full(2, -9.0), np.full(2, 9.0), 30 * (row + 1))
        return seen[-1]

    found = together(search, evaluate, np.zeros((4, 2), "float32"))
    np.testing.assert_allclose(np.stack(found), np.arange(4)[:, None] * np.ones(2), atol=1e-3)
    assert set(shapes) == {(4, 2)}


def test_searches_of_any_length_end_together():
    asked = together(
        lambda row, ask: [float(ask(np.full(2, n, "float32"))[0]) for n in range(row)],
        bowl,
        np.zeros((5, 2), "float32"),
    )
    assert [len(a) for a in asked] == [0, 1, 2, 3, 4]
    assert asked[3] == [18.0, 8.0, 2.0]


@pytest.mark.parametrize("where", ["search", "evaluation", "late search"])
def test_an_exception_ends_all_and_is_raised(where):
    before = threading.active_count()

    def search(row, ask):
        if where == "search" and row == 1:
            raise ValueError("lost")
        for n in range(5):
            ask(np.zeros(2, "float32"))
            if where == "late search" and row == 2 and n == 3:
                raise ValueError("lost")

    def evaluate(points):
        if where == "evaluation":
            raise ValueError("lost")
        return bowl(points)

    with pytest.raises(ValueError, match="lost"):
        together(search, evaluate, np.zeros((3, 2), "float32"))
    assert threading.active_count() == before


def test_no_more_points_than_allowed_and_an_early_end():
    asked = []

    def objective(point, answer):
        asked.append(point)
        if len(asked) == 12:
            raise Enough
        return float(np.abs(point).sum() ** 1.5), np.sign(point) * 1.5 * np.abs(point).sum() ** 0.5

    start = np.array([3.0, -2.0], "float32")
    minimise(lambda p: (), objective, start, [-9, -9], [9, 9], 4)
    assert len(asked) == 4
    minimise(lambda p: (), objective, start, [-9, -9], [9, 9], 100)
    assert len(asked) <= 12


@pytest.mark.parametrize("targets", [None, "next"])
def test_reaches_the_optimum_of_a_linear_model_of_two_classes(targets, grey):
    x, _ = grey
    inputs = keras.Input(x.shape[1:])
    head = keras.layers.Dense(2)
    model = keras.Model(inputs, head(keras.layers.Flatten()(inputs)))
    w = np.random.default_rng(5).normal(size=(64, 2)).astype("float32")
    head.set_weights([w, -0.5 * w.sum(0)])
    z = model.predict(x, verbose=0)
    plane = np.abs(z[:, 0] - z[:, 1]) / np.linalg.norm(w[:, 0] - w[:, 1])
    result = attack(model, x, z.argmax(1), "lbfgs(searches=10)", targets=targets)
    assert result.success.all() and (result.distance >= 0.999 * plane).all()
    assert result.distance.mean() <= 1.02 * plane.mean()


def test_is_near_carlini_wagner_on_a_net(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    ours = attack(net, x, y, "lbfgs(steps=30, initial=0.1, searches=5)")
    theirs = attack(net, x, y, "carlini_wagner(searches=5, steps=60, initial=0.1, lr=0.03)")
    assert ours.success.all()
    assert ours.distance[ours.clean].mean() <= 1.15 * theirs.distance[ours.clean].mean()
    assert ours.gradients.max() <= 5 * 30 + 1
