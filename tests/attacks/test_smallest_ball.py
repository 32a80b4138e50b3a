"""A bounded attack made minimal: the optimum of a linear model, counts, and what it costs."""

import numpy as np
import pytest
from closed_forms import only_two_classes, task_of, to_the_boundary, two_classes
from keras import ops

from keras_adv import InvalidInput, registry
from keras_adv.threats import Linf


def make(spec):
    return registry.parse("attack", spec)


def test_ends_within_the_last_interval_of_the_optimum(linear, grey):
    """On one boundary a full step of FGSM is the best there is at every radius."""
    x, _ = grey
    with only_two_classes(linear) as (model, w, b):
        y = model.predict(x, verbose=0).argmax(1)
        best = to_the_boundary((model, w, b), x, Linf())
        found = make("smallest_ball(attack=fgsm(), searches=9)")(model, x, y)
    assert np.asarray(found.success).all()
    farthest = np.maximum(x, 1 - x).reshape(len(x), -1).max(1)
    excess = np.asarray(found.distance) - best
    assert (excess > -1e-5).all() and (excess <= farthest / 2**9 + 1e-5).all()
    assert excess.max() > farthest.min() / 2**11  # so it is the bisection that sets the precision


def test_pgd_0_finds_the_fewest_values_of_a_linear_model(grey):
    """A long step makes its projection choose the values with the largest |w| times the way to the box."""
    x, w = grey[0][:8], np.random.default_rng(0).normal(size=64).astype("float32")
    lead, flat = np.linspace(8.0, 30.0, 8, dtype="float32"), x.reshape(8, -1)
    gains = -np.sort(-np.where(w < 0, 1 - flat, flat) * np.abs(w), axis=1)
    fewest = (np.cumsum(gains, axis=1) < (lead / 2 + (flat - 0.5) @ w)[:, None]).sum(1) + 1
    attack = "pgd(steps=2, step_size=100.0, random_start=False)"
    one = make(f"smallest_ball(threat=l0(pixels=False), attack={attack}, searches=7)")
    found = one(two_classes(w, lead), x, np.zeros(8, "int32"))
    assert fewest.min() > 1 and fewest.max() > fewest.min()
    np.testing.assert_array_equal(found.distance, fewest)


@pytest.mark.parametrize(("threat", "runs"), [("linf()", 5), ("l0()", 3)])
def test_what_never_fools_costs_every_run_and_a_look_after_each(threat, runs):
    x = np.full((2, 2, 2, 1), 0.4, "float32")  # 4 pixels: counts 2, 3 and, with high = 4, no more
    one = make(f"smallest_ball(threat={threat}, attack=pgd(steps=2, random_start=False), searches=5)")
    found = one(lambda v: ops.stack([1.0 + 0.0 * v[:, 0, 0, 0], 0.0 * v[:, 0, 0, 0]], axis=1), x, [0, 0])
    assert not np.asarray(found.success).any()
    np.testing.assert_array_equal(found.rounds, 3 * (2 if threat == "l0()" else runs))


def test_a_mistake_ends_its_run_and_the_next_is_inside_it():
    def logits(v):  # the mean gives a slope; beyond 0.56 it is a mistake
        z = ops.mean(v, axis=(1, 2, 3)) - 0.56
        return ops.stack([-z, z], axis=1)

    one = make("smallest_ball(attack=bim(steps=10, step_size=0.1), searches=4)")
    task = task_of(logits, np.full((1, 2, 2, 1), 0.5, "float32"))
    state = one.begin(task)
    for k in range(4):  # at 0.5, 0.525, 0.55 and 0.575, on the way to 0.75
        assert float(state["high"][0]) == 0.5 and int(state["run"][0]) == 0
        state = {**one.step(task, state)[0], "k": state["k"] * 0 + k}
    assert float(state["high"][0]) == pytest.approx(0.075, abs=1e-6) and int(state["run"][0]) == 1
    assert float(state["eps"][0]) == pytest.approx(0.0375, abs=1e-6) and int(state["round"][0]) == 0
    np.testing.assert_array_equal(state["inner_x"], task.x)


def test_scores_are_all_that_square_sees_here_too():
    one = make("smallest_ball(attack=square(steps=10))")
    assert one.knowledge == "scores" and one.passes_per_round == {"forward": 1} and one.targetable


@pytest.mark.parametrize("attack", ["ddn()", "worst()", "one_pixel()", "feature_adversary()"])
def test_other_than_bounded_attacks_in_a_graph_are_refused(attack):
    with pytest.raises(InvalidInput, match="`attack` must be"):
        make(f"smallest_ball(attack={attack})")
    with pytest.raises(InvalidInput, match="`threat` must be"):
        make("smallest_ball(threat=l0(), attack=square())")


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("constraint_relaxation()", "ends early only with a mistake"),
        ("fgsm(threat=linf(eps=1, box=False))", "in the box"),
    ],
)
def test_an_attack_that_may_give_up_or_leave_the_box_is_refused(attack, words):
    with pytest.raises(InvalidInput, match=words):
        make(f"smallest_ball(attack={attack})")
