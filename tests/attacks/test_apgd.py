"""APGD: its schedules, its targets, sparse steps, and PGD as the weaker attack."""

import keras
import numpy as np
import pytest
from closed_forms import DUAL, gaps, task_of
from keras import ops
from sampled import sampled

from keras_adv import InvalidInput, attack, registry
from keras_adv.attacks import APGD
from keras_adv.attacks.apgd.momentum import stretches
from keras_adv.attacks.apgd.sparse import sparse_sign, stages


def test_stretches_are_those_of_the_paper():
    # w = {0, 22, 41, 57, 70, 80, 87, 93, 99} for 100 steps (arXiv:2003.01690, sec. 3.2, in whole steps)
    lengths, ends = stretches(100)
    assert np.flatnonzero(ends).tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert [lengths[k] for k in np.flatnonzero(ends)] == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_stages_shrink_to_the_radius(steps):
    radius, starts, looks = stages(steps)
    assert len(radius) == len(starts) == len(looks) == steps + 1
    assert radius[-1] == 1.0 and list(radius) == sorted(radius, reverse=True)
    assert sum(starts) == len(set(radius))


@pytest.mark.parametrize("threat", sampled(["linf(eps=0.1)", "l2(eps=0.5)", "l1(eps=3)"], "linf(eps=0.1)"))
def test_is_at_least_as_strong_as_pgd(threat, net, digits):
    x, y = digits.test[0][:120], digits.test[1][:120]
    ours = attack(net, x, y, f"apgd(threat={threat}, steps=50)")
    pgd = attack(net, x, y, f"pgd(threat={threat}, steps=50)")
    assert ours.success.mean() >= pgd.success.mean() - 0.01


def test_targets_are_the_likeliest_wrong_classes_in_turn(net, digits):
    x, y = (part[:6] for part in digits.test)
    one = APGD(steps=4, targets=3, restarts=2)
    task = task_of(net, x, y, eps=one.threat.radii(ops.convert_to_tensor(x)))
    state = one.begin(task)
    z = np.asarray(net(x)).copy()
    z[np.arange(6), y] = -np.inf
    order = np.argsort(-z, axis=1)
    for k in range(one.rounds):
        aim = one._aim(task, {**state, "k": ops.full((6,), k, "int32")}).target
        np.testing.assert_array_equal(aim, order[:, k // 10])


@pytest.mark.parametrize("norm", sampled(["linf", "l2", "l1"], "linf"))
def test_by_malt_the_first_target_of_a_linear_net_is_across_the_nearest_boundary(norm, linear, grey):
    x, y = grey
    one = APGD(threat=f"{norm}(eps=0.1)", loss="margin", steps=4, targets=4, ranking="malt")
    order = np.asarray(one._ranked(task_of(linear[0], x, y)))
    for i, row in enumerate(gaps(linear, x, y)):
        far = [gap / DUAL[norm](w) for gap, w in row]
        others = [j for j in range(5) if j != y[i]]
        assert order[i].tolist() == [others[j] for j in np.argsort(far)]
    likeliest = np.argsort(-linear[0].predict(x, verbose=0), axis=1)[:, 1]
    assert (order[:, 0] != likeliest).any()


def test_malt_finds_at_once_what_the_order_of_logits_finds_later():
    """The second logit's boundary is out of reach, the third's is near."""
    inputs = keras.Input((4, 4, 1))
    net = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs)))
    kernel = np.zeros((16, 4), "float32")
    kernel[:8, 1], kernel[8:, 2], kernel[8:, 3] = 0.1, 1.0, 1.0
    bias = np.float32([0, -1.0, -5.5, -7.5])
    net.set_weights([kernel, bias])
    x, y = np.full((3, 4, 4, 1), 0.5, "float32"), np.zeros(3, "int32")  # logits 0, -.6, -1.5, -3.5
    spec = "apgd(threat=linf(eps=0.25), steps=10, loss=margin(), targets={}, ranking='{}')"
    assert attack(net, x, y, spec.format(1, "malt")).success.all()
    assert not attack(net, x, y, spec.format(1, "logits")).success.any()
    near, likely = (attack(net, x, y, spec.format(2, way)) for way in ("malt", "logits"))
    assert near.success.all() and likely.success.all()
    assert (near.passes < 11 + 5).all() and (likely.passes > 11).all()
    assert (near.passes < likely.passes).all()


def test_what_malt_costs_at_the_start_is_a_jacobian_of_its_candidates():
    one = registry.parse("attack", "malt")
    assert one.rounds == 9 * 101
    assert [one.start_cost(classes) for classes in (10, 101, 1000)] == [11, 102, 102]
    with pytest.raises(InvalidInput, match="`ranking` must be 'logits' where there are no `targets`"):
        APGD(ranking="malt")


def test_sparse_sign_keeps_the_largest():
    g = np.random.default_rng(0).normal(size=(3, 5, 5, 1)).astype("float32")
    share = np.array([0.2, 0.4, 1.0], "float32")
    made = np.asarray(sparse_sign(ops.convert_to_tensor(g), ops.convert_to_tensor(share))).reshape(3, -1)
    flat = g.reshape(3, -1)
    for row, v, count in zip(made, flat, (5, 10, 25), strict=True):
        top = np.argsort(-np.abs(v))[:count]
        want = np.zeros(25)
        want[top] = np.sign(v[top]) / count
        np.testing.assert_allclose(row, want, atol=1e-6)


def test_too_few_classes_for_the_ratio_are_refused(linear, grey):
    x, _ = grey
    inputs = keras.Input(x.shape[1:])
    two = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    y = two.predict(x, verbose=0).argmax(1)
    with pytest.raises(InvalidInput, match="at least 3 classes"):
        attack(two, x, y, "apgd(loss='dlr')")
    with pytest.raises(InvalidInput, match="at least 4 classes"):
        attack(two, x, y, "apgd(loss='dlr', targets=1)")
