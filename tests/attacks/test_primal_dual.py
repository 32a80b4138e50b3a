"""PDGD and PDPGD: their duals, restarts, fine-tuning, and ways to descend."""

import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import attack, registry
from keras_adv.attacks import PDGD


def test_dual_of_the_constraint_rises_iff_the_decision_holds():
    duals = ops.log(ops.convert_to_tensor([[0.3, 0.7], [0.3, 0.7]]))
    new = np.exp(np.asarray(PDGD._raise(duals, ops.convert_to_tensor([1.0, -1.0]), 0.1)))
    np.testing.assert_allclose(new.sum(1), 1, rtol=1e-6)
    assert new[0, 1] > 0.7 > new[1, 1]


def test_duals_keep_their_floor():
    duals = ops.log(ops.convert_to_tensor([[0.5, 0.5]]))
    for _ in range(200):
        duals = PDGD._raise(duals, ops.convert_to_tensor([1.0]), 0.5)
    assert float(np.asarray(duals).min()) == pytest.approx(np.log(1e-6), rel=1e-5)


@pytest.mark.slow
def test_best_images_are_found_whatever_the_start_ratio(net, digits):
    x, y = digits.test[0][:48], digits.test[1][:48]
    norms = [attack(net, x, y, f"pdgd(ratio={ratio})").distance.mean() for ratio in (0.01, 1.0)]
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


def test_restarts_never_make_the_perturbation_larger(net, images, found):
    once, twice = found("pdpgd"), attack(net, *images, "pdpgd(steps=40, restarts=2)")
    assert (twice.distance <= once.distance + 1e-5).all() and twice.passes.max() == 82


@pytest.mark.slow
def test_l0_finds_few_pixels(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    result = attack(net, x, y, "pdpgd(threat=l0())")
    changed = (np.abs(result.images - x).max(3) > 0).sum((1, 2))
    found = result.success & result.clean
    np.testing.assert_array_equal(changed[found], result.distance[found])
    assert found.mean() > 0.8 and 1 <= np.median(changed[found]) <= 12


@pytest.mark.slow
def test_beats_deepfool(net, digits):
    x, y = digits.test[0][:96], digits.test[1][:96]
    for ours, theirs in (("pdgd()", "deepfool()"), ("pdpgd()", "deepfool(threat=linf())")):
        assert attack(net, x, y, ours).distance.mean() < attack(net, x, y, theirs).distance.mean()


@pytest.mark.parametrize("name", ["pdgd", "pdpgd"])
def test_finetuning_never_makes_the_perturbation_larger(name, net, images, found):
    coarse, fine = found(name), attack(net, *images, f"{name}(steps=40, finetune=40)")
    assert (fine.distance <= coarse.distance + 1e-5).all() and fine.passes.max() == 123
    assert fine.distance.mean() < coarse.distance.mean()


# adam is the default in every norm, and test_linear_optimum.py asks more of the others in l1
@pytest.mark.parametrize(
    ("threat", "optimizer"),
    sampled([("linf()", "sgd"), ("l0()", "accelerated")], ("l0()", "accelerated")),
)
def test_every_way_to_descend_finds_mistakes_in_the_box(threat, optimizer, net, digits):
    x, y = digits.test[0][:24], digits.test[1][:24]
    result = attack(net, x, y, f"pdpgd(threat={threat}, steps=100, lr=0.3, optimizer={optimizer!r})")
    assert result.success.mean() > 0.9
    assert result.images.min() >= 0 and result.images.max() <= 1


def test_presets_have_the_settings_of_the_thesis():
    for name in ("pdgd", "pdpgd"):
        made = registry.parse("attack", f"{name}_thesis()")
        assert (made.name, made.steps, made.restarts, made.ratio) == (name, 500, 1, 0.01)
        assert (made.surrogate, made.decay, made.final) == ("hinge", "linear", 0.01)
        assert registry.parse("attack", registry.spec(made)) == made
    assert registry.parse("attack", "pdgd_thesis(lr=0.5)").lr == 0.5


@pytest.mark.parametrize("name", ["pdgd", "pdpgd"])
def test_the_last_iterate_is_judged(name, net, images):
    """Algorithm 2, line 7, tests r_{k+1}: one step is enough where it is long enough."""
    result = attack(net, *images, f"{name}(steps=1, restarts=1, lr=0.4, dual_final=1.0)")
    assert (result.success & result.clean).sum() > 0.5 * result.clean.sum()
    assert result.passes.max() == 2


@pytest.mark.slow
def test_the_first_run_may_start_at_random(net, images):
    still, drawn = (
        attack(net, *images, f"pdgd(steps=3, restarts=1, lr=1e-6, random_start={start})")
        for start in (False, True)
    )
    assert not still.success[still.clean].any() and drawn.success[drawn.clean].any()


def test_the_thesis_keeps_the_rate_of_the_duals_and_takes_the_hard_threshold():
    for name in ("pdgd_thesis", "pdpgd_thesis"):
        assert registry.parse("attack", name).dual_final == 1.0
    thesis = registry.parse("attack", "pdpgd_thesis(threat=l0())")
    v = ops.convert_to_tensor(np.array([0.5, 0.1, 0.3, 0.2], "float32").reshape(1, 2, 2, 1))
    mu = ops.convert_to_tensor(np.array([0.03], "float32"))
    kept = np.asarray(thesis._norm.prox(v, mu)).ravel()
    # eq. 5.14: kept whole where v^2 > 2 mu, dropped else
    np.testing.assert_allclose(
        kept, np.where(np.array([0.5, 0.1, 0.3, 0.2]) ** 2 > 0.06, [0.5, 0, 0.3, 0], 0)
    )
    assert registry.parse("attack", "pdpgd(threat=l0())")._norm.operator == "l2/3"
