"""SparseFool: the closed form of a linear model, sparsity, and failures."""

import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry


def test_crosses_one_linear_boundary_at_the_least_norm(grey):
    x, _ = grey
    w = np.random.default_rng(0).normal(size=64).astype("float32")
    side = (x.reshape(-1, 64) - 0.5) @ w

    def logits(v):
        z = (ops.reshape(v, (-1, 64)) - 0.5) @ w[:, None]
        return ops.concatenate([z, 0.0 * z], axis=1)

    one = registry.parse("attack", "sparsefool()")
    found = one(logits, x, (side < 0).astype("int32"))
    plane = np.asarray(
        one.threat.project_to_plane(
            x, np.broadcast_to(w.reshape(8, 8, 1), x.shape), np.full(24, 0.5 * w.sum())
        )
    )
    least, distance = np.abs(plane - x).reshape(24, -1).sum(1), np.asarray(found.distance)
    assert np.asarray(found.success).all() and (distance >= least * (1 - 1e-3)).all()
    # the overshoot of 2%, and 1e-3 in l2 beyond the plane
    assert (distance <= 1.021 * least + 0.006).all()
    np.testing.assert_array_equal(found.rounds, 3)  # DeepFool, its boundary, the crossing


@pytest.mark.slow
def test_changes_few_values_and_more_with_lam(net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]
    near, far = (attack(net, x, y, f"sparsefool(lam={lam})") for lam in (1.0, 3.0))
    ok = near.clean & near.success
    assert ok.sum() >= 0.9 * near.clean.sum()
    assert ((near.images - x)[ok] != 0).reshape(ok.sum(), -1).sum(1).mean() < 12
    assert near.distance[ok].mean() < far.distance[ok].mean()


def test_counts_values_in_l0(net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]
    result = attack(net, x, y, "sparsefool(threat=l0())")
    changed = (result.images != x).reshape(len(x), -1).sum(1)
    np.testing.assert_array_equal(changed, result.distance)
    assert 0 < result.distance[result.clean & result.success].mean() < 12


def test_gives_up_where_no_boundary_is_found():
    def logits(v):  # flat
        z = 0.0 * ops.sum(v, axis=(1, 2, 3))
        return ops.stack([1.0 + z, z], axis=1)

    found = registry.parse("attack", "sparsefool(inner=4)")(
        logits, np.zeros((2, 4, 4, 1), "float32"), np.zeros(2)
    )
    assert not np.asarray(found.success).any() and np.isfinite(np.asarray(found.images)).all()
    np.testing.assert_array_equal(found.rounds, 5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_is_for_sparse_norms(norm):
    with pytest.raises(ValueError, match="threat"):
        registry.parse("attack", f"sparsefool(threat={norm}())")
