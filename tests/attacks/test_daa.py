"""Distributionally adversarial attack: its repulsion, linear scores, the turns of its particles."""

import numpy as np
import pytest
from closed_forms import DUAL, gain, task_of, two_classes
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.daa import repulsion


def energy(points, width):
    """Sum of the log densities: what spreading particles lowers."""
    distance = np.square(points[:, None] - points[None]).sum(-1)
    return np.log(np.exp(-distance / width).sum(1)).sum()


def two_classes_of_4():
    """Logits of 2x2 images that rise with every value and never fool."""

    def logits(v):
        z = ops.sum(v, axis=(1, 2, 3))
        return ops.stack([100.0 - z, z], axis=1)

    return logits


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


def test_a_step_of_one_particle_is_one_of_pgd(linear, grey):
    one = registry.parse("attack", "daa(threat=linf(eps=0.1), steps=8, particles=1)")
    like = registry.parse("attack", "pgd(threat=linf(eps=0.1), steps=8)")
    task = task_of(linear[0], *grey, eps=np.full(24, 0.1, "float32"))
    state = one.begin(task)
    (stepped, fooled), (same, also) = (a.step(task, {"x": state["x"], "k": state["k"]}) for a in (one, like))
    np.testing.assert_allclose(stepped["x"], same["x"], atol=1e-6)
    np.testing.assert_array_equal(fooled, also)
    assert one.rounds == like.rounds == 8


def test_a_restart_begins_afresh_after_every_particle_was_looked_at():
    one = registry.parse("attack", "daa(threat=linf(eps=0.1), steps=2, particles=2, restarts=3)")
    x = np.full((2, 2, 2, 1), 0.5, "float32")
    task = task_of(two_classes_of_4(), x, eps=np.full(2, 0.1, "float32"))
    state, starts = one.begin(task), []
    for k in range(one.rounds):
        if k % (3 * 2) == 0:
            starts.append([np.asarray(state[name]) for name in one._line()])
        state = {**one.step(task, state)[0], "k": state["k"] + 1, "done": state["done"]}
    assert one.rounds == 3 * 2 * 3 - 1 and len(starts) == 3
    points = np.stack([v for run in starts for v in run])
    assert (np.abs(points - 0.5) <= 0.1 + 1e-6).all()
    # no particle of any run starts where another did, nor at the end that the slope leads to
    assert len({p.tobytes() for p in points}) == 3 * 2
    assert (np.abs(points - 0.5).reshape(len(points), -1).min(1) < 0.0999).all()


def test_presets_cost_what_the_published_ones_do():
    one, fifty = (registry.parse("attack", f"daa_{n}_thesis") for n in (1, 50))
    assert (one.particles, one.restarts, one.rounds) == (1, 1, 200)
    assert fifty.particles * fifty.restarts * fifty.steps == 50 * 200


@pytest.mark.slow
def test_particles_take_turns(net, digits):
    x, y = digits.test[0][:64], digits.test[1][:64]
    found = attack(net, x, y, "daa(threat=linf(eps=0.15), steps=20, particles=3)")
    assert found.passes.max() == 3 * 21 - 1
    single = attack(net, x, y, "pgd(threat=linf(eps=0.15), steps=20)")
    assert found.success.mean() >= single.success.mean()
