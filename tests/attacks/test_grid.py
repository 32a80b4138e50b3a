"""A grid of one option is the best of separate runs, image by image."""

import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, attack, evaluate, registry
from keras_adv.attacks import Grid

RATES = (0.05, 0.3, 1.0)
ONE = "pdgd(restarts=1, steps=15, lr={})"


@pytest.fixture(scope="module")
def small(digits):
    return digits.test[0][:30], digits.test[1][:30]


@pytest.fixture(scope="module")
def apart(net, small):
    return [attack(net, *small, ONE.format(rate)) for rate in RATES]


def smallest(apart):
    """The least norm of each image over separate runs; infinite where none found one."""
    return np.min([np.where(one.success, one.distance, np.inf) for one in apart], axis=0)


def grid(**options):
    return Grid(threat="l2()", attack=ONE.format(1.0), values=RATES).replace(**options)


def test_of_a_minimal_attack_it_keeps_the_smallest(net, small, apart):
    whole = attack(net, *small, grid())
    least = smallest(apart)
    best = [(one.success & (one.distance == least))[whole.clean] for one in apart]
    assert sum(hits.any() for hits in best) > 1  # another rate is the best of another image
    np.testing.assert_array_equal(whole.success, np.isfinite(least))
    np.testing.assert_allclose(whole.distance[whole.success], least[whole.success], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(whole.passes, sum(one.passes for one in apart))
    fooled = net.predict(whole.images, verbose=0).argmax(1) != small[1]
    np.testing.assert_array_equal(fooled, whole.success)
    reverse = attack(net, *small, grid(values=RATES[::-1]))
    np.testing.assert_allclose(reverse.distance, whole.distance, rtol=1e-3, atol=1e-5)


def test_a_batch_alone_gives_the_same(net, small, apart):
    found = grid()(net, *(part[:10] for part in small))
    least, clean = smallest(apart)[:10], apart[0].clean[:10]
    np.testing.assert_array_equal(found.success, np.isfinite(least))
    hit = np.isfinite(least)
    np.testing.assert_allclose(np.asarray(found.distance)[hit], least[hit], rtol=1e-3, atol=1e-5)
    assert not np.asarray(found.distance)[~clean].any()
    assert (np.asarray(found.rounds)[clean] == 3 * 16).all()


def test_of_a_bounded_attack_any_mistake_will_do(net, small):
    steps = (1.0, 0.3, 0.1)
    spec = "pgd(threat=linf(eps=0.08), steps=4, random_start=False, step_size={})"
    one = Grid(threat="linf(eps=0.08)", attack=spec.format(1.0), field="step_size", values=steps)
    broken = [attack(net, *small, spec.format(step)).success for step in steps]
    whole = attack(net, *small, one)
    np.testing.assert_array_equal(whole.success, np.any(broken, axis=0))
    assert one.contract == "bounded" and (whole.distance <= 0.08 + 1e-6).all()
    assert list(whole.parts.values()) == [int((~np.any(broken[:n], axis=0)).sum()) for n in (1, 2, 3)]


def test_a_curve_and_a_resumed_run(net, small, apart, tmp_path):
    eps = [0.2, 0.5, 1.0]
    (row,) = evaluate(net, *small, grid(), eps=eps, resume=tmp_path)["attacks"]
    clean = apart[0].clean
    least = np.where(clean, smallest(apart), 0.0)
    wanted = [float((least > r).mean()) for r in eps]
    assert row["curve"]["robust_accuracy"][-3:] == pytest.approx(wanted)
    (again,) = evaluate(net, *small, grid(), eps=eps, resume=tmp_path)["attacks"]
    assert again["curve"] == row["curve"] and again["mean_norm"] == row["mean_norm"]


def test_targets_are_passed_on(net, small):
    found = attack(net, *small, grid(), targets="next")
    reached = found.clean & found.success
    assert reached.any()
    got = net.predict(found.images[reached], verbose=0).argmax(1)
    np.testing.assert_array_equal(got, (small[1][reached] + 1) % 10)


def test_it_makes_images_for_training(net, small):
    x, y = (ops.convert_to_tensor(part[:4]) for part in small)
    made = grid(values=(0.3,)).perturb(net, x, ops.cast(y, "int32"), np.arange(4, dtype="uint32"))
    assert np.asarray(made).shape == x.shape


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("grid(field='rate')", "`field` must be one of"),
        ("grid(values=())", "`values` must be"),
        ("grid(values=(0.1, -1.0))", "`lr` must be"),
        ("grid(attack=pgd(), field='step_size')", "`eps`|`threat`"),
        ("grid(threat=l1(), attack=pdgd())", "`threat` must be"),
        ("grid(attack=feature_adversary(), field='steps', values=(5,))", "guide"),
    ],
)
def test_what_cannot_work_is_refused(spec, said):
    with pytest.raises(InvalidInput, match=said):
        registry.parse("attack", spec)


def test_presets_are_the_thesis_grids():
    ours = registry.parse("attack", "pdgd_grid_thesis(threat=l2(eps=2.0))")
    assert [one.lr for one in ours.parts(10)] == [0.01, 0.05, 0.1, 0.5, 1.0]
    assert {one.threat.eps for one in ours.parts(10)} == {2.0} and ours.contract == "minimal"
    thesis = registry.parse("attack", "pdgd_thesis()")
    assert ours.parts(10)[2] == thesis.replace(threat=ours.threat)
    pgd = registry.parse("attack", "pgd_grid_thesis()")
    assert [round(1 / one.step_size) for one in pgd.parts(10)] == [1, 2, 5, 10, 25, 50, 100]
    l0 = registry.parse("attack", "pdpgd_grid_thesis(threat=l0())")
    assert l0.parts(10)[2] == registry.parse("attack", "pdpgd_thesis(threat=l0())")
