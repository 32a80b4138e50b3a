"""Constraint relaxation: its balls, what is given up and what is tried again, and its strength."""

import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, attack, registry
from keras_adv.attacks.task import Examples, Task

EPS = 0.1


def task_of(slopes, heights, n=2):
    """Images of 16 grey values, logits heights_j + slopes_j sum(x - 1/2): inside the ball a class is ahead by
    at most its height and 16 EPS |slope|."""
    x = ops.convert_to_tensor(np.full((n, 4, 4, 1), 0.5, "float32"))
    slopes, heights = (ops.convert_to_tensor(np.array(v, "float32")) for v in (slopes, heights))

    def logits(v):
        return heights + slopes * ops.sum(v - 0.5, axis=(1, 2, 3))[:, None]

    return Task(logits, Examples.of_batch(x, ops.zeros((n,), "int32"), eps=ops.full((n,), EPS)))


def sizes(one, task, rounds):
    """(rounds, B): how far the point of each round lies from the image."""
    state, found = one.begin(task), []
    for _ in range(rounds):
        state = {**one.step(task, state)[0], "k": state["k"] + 1}
        found.append(np.abs(np.asarray(state["at"]) - 0.5).max((1, 2, 3)))
    return np.array(found)


def test_the_ball_is_wide_then_itself_then_narrow():
    """Of a class that stays just out of reach, so that nothing is given up."""
    one = registry.parse("attack", f"constraint_relaxation(threat=linf(eps={EPS}), targets=1, restarts=1)")
    task = task_of([0.0, 0.1], [0.22, 0.0])  # 0.06 behind at best
    found = sizes(one, task, 11 + 40)
    assert found[:11].max() <= EPS + 1e-6
    first, second = found[11:41], found[41:51]
    for cycle, s in ((first, 0.5), (second, 0.25)):
        assert cycle[:10].max() == pytest.approx((1 + s) * EPS, rel=1e-3)
        assert cycle[10:].max(initial=0.0) <= EPS + 1e-6
    images = one.run(task).images
    assert np.abs(np.asarray(images) - 0.5).max() <= EPS + 1e-6


@pytest.mark.parametrize("size", np.round(np.arange(0.02, 0.1, 0.02), 3))
def test_what_fools_at_one_size_of_the_change_alone_is_kept(size):
    """Right after the change was cut, too: the image that was judged is the one that is offered."""

    def logits(v):
        r = ops.mean(ops.abs(v - 0.5), axis=(1, 2, 3))
        return ops.stack([0.0 * r, 1.02 * ops.exp(-ops.square((r - size) / 0.005)) - 0.02], axis=1)

    x = ops.convert_to_tensor(np.full((8, 4, 4, 1), 0.5, "float32"))
    examples = Examples.of_batch(x, ops.zeros((8,), "int32"), eps=ops.full((8,), EPS))
    one = registry.parse("attack", f"constraint_relaxation(threat=linf(eps={EPS}), restarts=1)")
    found = one.run(Task(logits, examples))
    early = np.asarray(found.rounds) < one.warmup + 1 + 150
    assert np.asarray(found.success)[early].all()


def test_a_net_of_few_classes_has_few_targets():
    assert rounds([9.0, 0.0], targets=3) == [11 + 20] * 2
    assert rounds([9.0, 0.0, 0.0], targets=3) == [11 + 2 * 20] * 2


def rounds(heights, **options):
    text = ", ".join(f"{name}={value}" for name, value in options.items())
    one = registry.parse("attack", f"constraint_relaxation(threat=linf(eps={EPS}), {text})")
    found = one.run(task_of([0.0, *[0.1] * (len(heights) - 1)], heights))
    assert not np.asarray(found.success).any()
    return np.asarray(found.rounds).tolist()


def test_a_hopeless_target_is_given_up_after_twenty_steps():
    assert rounds([9.0, 0.0, 0.0, 0.0], targets=3) == [11 + 3 * 20] * 2
    # 0.34 behind at best: in reach at s = 1/2, no longer at 1/4
    assert rounds([0.5, 0.0, -9.0], targets=2) == [11 + 50 + 20] * 2


def test_a_target_that_came_near_is_tried_again():
    """At most 0.16 is gained in the ball, so the class stays 0.02 behind."""
    assert rounds([0.18, 0.0, -9.0], targets=2, restarts=2) == [11 + 20 + 2 * 150] * 2


def test_it_breaks_what_pgd_breaks_in_no_more_passes_than_it_says(net, digits):
    x, y = digits.test[0][:100], digits.test[1][:100]
    ours = attack(net, x, y, "constraint_relaxation(threat=linf(eps=0.1), restarts=2)")
    theirs = attack(net, x, y, "pgd(threat=linf(eps=0.1), steps=40, loss='margin')")
    assert ours.success.mean() >= theirs.success.mean() - 0.01
    assert ours.passes.max() <= 11 + 2 * 3 * 150


@pytest.mark.slow
def test_quick_autoattack_is_it_and_a_short_square(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    quick = attack(net, x, y, "autoattack(threat=linf(eps=0.1), version='quick', queries=500)")
    assert [spec.split("(")[0] for spec in quick.parts] == ["constraint_relaxation", "square"]
    standard = attack(net, x, y, "autoattack(threat=linf(eps=0.1), queries=500)")
    assert abs(quick.success.mean() - standard.success.mean()) <= 0.02
    assert quick.passes.mean() < 0.5 * standard.passes.mean()
    with pytest.raises(InvalidInput, match="`threat` must be linf"):
        registry.parse("attack", "autoattack(threat=l2(eps=0.5), version='quick')")
