"""Square attack: its windows, its schedule, its gain on linear scores, and the public code as oracle."""

import numpy as np
import pytest
from closed_forms import gain, two_classes
from keras import ops
from sampled import sampled

from keras_adv import attack, registry
from keras_adv.attacks.square import Square
from keras_adv.attacks.square.mounds import Mounds
from keras_adv.backend import compile


@pytest.mark.parametrize("mounds", [Mounds(2, 2), Mounds(1, 4)])
@pytest.mark.parametrize("side", [1, 3, 4, 7, 12])
def test_eta_is_one_mound_up_and_one_down_of_length_one(mounds, side):
    made = mounds.eta(side)
    assert np.linalg.norm(made.ravel(), mounds.order) == pytest.approx(1.0)
    assert (made[: side // 2] > 0).all() and (made[side // 2 :] < 0).all()


def test_each_image_has_its_own_place_in_the_schedule():
    k = ops.convert_to_tensor(np.array([0, 10, 11, 50, 51, 201, 8001], "int32"))
    np.testing.assert_array_equal(Square()._halvings(k), [0, 0, 1, 1, 2, 3, 9])
    np.testing.assert_array_equal(Square(steps=1000, rescale=True)._halvings(k // 10), [0, 0, 0, 1, 1, 2, 8])
    x = np.zeros((1, 28, 28, 1), "float32")
    assert Square().sides(x, 1)[:3] == [25, 18, 13] and Square().sides(x, 3)[-1] == 3


GAINS = [("linf(eps=0.05)", 1, 0.98), ("l2(eps=0.3)", 2, 0.7), ("l1(eps=0.5)", np.inf, 0.5)]


@pytest.mark.parametrize(("threat", "order", "part"), sampled(GAINS, GAINS[0]))
def test_gains_most_of_what_linear_scores_give(threat, order, part, grey):
    x = grey[0][:8]
    w = np.random.default_rng(0).normal(size=(64,)).astype("float32")
    one = registry.parse("attack", f"square(threat={threat}, steps=1000, rescale=True)")
    found = compile(lambda *batch: one(two_classes(w, 100.0), *batch))(x, np.zeros(len(x), "int32"))
    assert part <= gain(w, x, found.images) / (one.threat.eps * np.linalg.norm(w, order)) <= 1.0 + 1e-4


def test_stops_at_the_query_that_fools(net, digits):
    x, y = digits.test[0][:48], digits.test[1][:48]
    found = attack(net, x, y, "square(threat=linf(eps=0.4), steps=100)")
    assert (found.passes[found.success] < 100).mean() > 0.5
    assert (found.passes[~found.success] == 100).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_l1_images_fill_the_ball_and_stay_in_the_box(channels, digits):
    # of three channels the window's budget is more than eps, and the projection takes some of it back
    x = ops.convert_to_tensor(np.repeat(digits.test[0][:8], channels, axis=3))
    eps, seeds = ops.full((8,), 5.0), ops.arange(8, dtype="uint32")
    images = [Mounds(1, 4).first(x, eps, seeds)]
    for halvings in range(6):
        level = ops.full((8,), halvings, dtype="int32")
        images.append(Mounds(1, 4).redrawn(x, images[-1], eps, seeds + halvings, level, Square().sides))
    change = np.asarray(images) - np.asarray(x)
    assert np.min(images) >= 0 and np.max(images) <= 1
    length = np.abs(change).sum(axis=(2, 3, 4))
    assert length.max() <= 5.0 * (1 + 1e-6) and length.mean() > 3.5
    np.testing.assert_allclose(length[0], 5.0, rtol=1e-5)
    # the window's whole new change may lie where the box stops it
    assert (np.abs(change[1:] - change[:-1]).max(axis=(2, 3, 4)) > 0.01).mean() > 0.9


@pytest.mark.slow
def test_more_l1_queries_break_more_images_but_fewer_than_gradients(net, digits):
    x, y = digits.test[0][:64], digits.test[1][:64]
    broken = [
        attack(net, x, y, spec).success.mean()
        for spec in (
            "square(threat=l1(eps=2), steps=20)",
            "square(threat=l1(eps=2), steps=100)",
            "square(threat=l1(eps=2), steps=500)",
            "apgd(threat=l1(eps=2), steps=40)",
        )
    ]
    assert broken == sorted(broken) and 0.3 < broken[2] < 0.9


@pytest.mark.parametrize(("threat", "eps"), [("linf", 0.15), ("l2", 0.8), ("l1", 3)])
def test_breaks_as_many_as_the_public_code(threat, eps, net, digits):
    public = pytest.importorskip("pyautoattack.square")
    torch = pytest.importorskip("torch")
    x, y = digits.test[0][:64], digits.test[1][:64]

    def predict(v):
        z = net(np.ascontiguousarray(v.numpy().transpose(0, 2, 3, 1)), training=False)
        return torch.from_numpy(np.array(z))

    theirs = public.SquareAttack(
        predict, norm=threat.capitalize(), eps=eps, n_queries=99, resc_schedule=False, device="cpu"
    )
    images = theirs.perturb(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(y).long())
    broken = (predict(images).numpy().argmax(1) != y).mean()
    ours = attack(net, x, y, f"square(threat={threat}(eps={eps}), steps=100)")
    assert ours.success.mean() >= broken - 0.05
