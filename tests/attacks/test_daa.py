"""Distributionally adversarial attack: its repulsion, linear scores, the turns of its particles."""

import numpy as np
import pytest
from closed_forms import DUAL, gain, two_classes
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.daa import repulsion


def energy(points, width):
    """Sum of the log densities: what spreading particles lowers."""
    distance = np.square(points[:, None] - points[None]).sum(-1)
    return np.log(np.exp(-distance / width).sum(1)).sum()


def test_repulsion_points_down_the_blob_energy():
    points = np.random.default_rng(0).normal(size=(4, 6))
    distance = np.square(points[:, None] - points[None]).sum(-1)
    width = distance.sum() / 12 / np.log(4)
    slope = []
    for n in range(6):
        up, down = points.copy(), points.copy()
        up[0, n] += 1e-5
        down[0, n] -= 1e-5
        slope.append((energy(up, width) - energy(down, width)) / 2e-5)
    seen = [ops.convert_to_tensor((p - points[0])[None], "float32") for p in points[1:]]
    made = np.asarray(repulsion(seen))[0]
    np.testing.assert_allclose(
        made / np.linalg.norm(made), -np.array(slope) / np.linalg.norm(slope), atol=1e-4
    )


def test_two_particles_part_and_one_place_gives_no_push():
    push = np.asarray(repulsion([ops.convert_to_tensor([[-0.1, 0.0]], "float32")]))
    assert push[0, 0] > 0 and push[0, 1] == 0
    np.testing.assert_array_equal(repulsion([ops.zeros((1, 2))]), [[0.0, 0.0]])


@pytest.mark.parametrize("threat", ["linf(eps=0.05)", "l2(eps=0.3)"])
def test_gains_all_that_linear_scores_give(threat, grey):
    x = grey[0][:8]
    w = np.random.default_rng(0).normal(size=(64,)).astype("float32")
    one = registry.parse("attack", f"daa(threat={threat}, steps=50, loss='margin')")
    found = one(two_classes(w, 100.0), x, np.zeros(len(x), "int32"))
    assert gain(w, x, found.images) == pytest.approx(one.threat.eps * DUAL[one.threat.name](w), rel=0.05)


@pytest.mark.slow
def test_particles_take_turns(net, digits):
    x, y = digits.test[0][:64], digits.test[1][:64]
    found = attack(net, x, y, "daa(threat=linf(eps=0.15), steps=20, particles=3)")
    assert found.passes.max() == 3 * 21 - 1
    single = attack(net, x, y, "pgd(threat=linf(eps=0.15), steps=20)")
    assert found.success.mean() >= single.success.mean()
