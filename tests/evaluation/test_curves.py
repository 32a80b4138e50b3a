"""Robust accuracy at several radii."""

import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import InvalidInput, attack, attacks, evaluate
from keras_adv.attacks.task import Examples, Task, as_logits
from keras_adv.evaluation import curves

RADII = [0.05, 0.1, 0.2]
PIXELS = "pgd(threat=l0(eps=5))"  # sigma-zero counts values


@pytest.fixture
def images(digits):
    return digits.test[0][:90], digits.test[1][:90]


def test_the_largest_radius_is_the_attack_alone_and_the_rest_falls_towards_it(net, images):
    (row,) = evaluate(net, *images, "pgd(threat=linf(eps=0.01), steps=12)", eps=RADII[::-1])["attacks"]
    (alone,) = evaluate(net, *images, "pgd(threat=linf(eps=0.2), steps=12)")["attacks"]
    found = row.pop("curve")
    for name in ("spec", "robust_accuracy", "mean_norm", "gradients_per_image"):
        assert row[name] == alone[name]
    robust = found["robust_accuracy"]
    assert (
        found["eps"] == RADII
        and robust == sorted(robust, reverse=True)
        and robust[-1] == row["robust_accuracy"]
    )


@pytest.mark.parametrize(
    "spec", sampled(["pgd(steps=12)", "bim()", "fgsm()", "apgd(steps=12)"], "pgd(steps=12)")
)
def test_going_on_from_a_larger_ball_breaks_as_many_as_starting_anew(spec, net, images):
    (row,) = evaluate(net, *images, spec, eps=RADII)["attacks"]
    one = spec.replace("(", "(threat=linf(eps={}), ")
    fresh = [evaluate(net, *images, one.format(r))["attacks"][0]["robust_accuracy"] for r in RADII]
    assert np.all(np.array(row["curve"]["robust_accuracy"]) <= np.array(fresh) + 0.05)


def test_ten_radii_cost_less_than_twice_the_largest_and_break_as_much_as_ten_runs(net, images):
    """The largest breaks 90% of the images; 1.90 times as measured."""
    radii = [0.018 * k for k in range(1, 11)]
    (row,) = evaluate(net, *images, "pgd(steps=40)", eps=radii)["attacks"]
    assert row["robust_accuracy"] <= 0.15
    assert 1 + row["curve"]["passes"] / row["gradients_per_image"] < 2
    fresh = [attack(net, *images, f"pgd(threat=linf(eps={r}), steps=40)").success.mean() for r in radii]
    assert sum(row["curve"]["robust_accuracy"]) <= sum(1 - np.array(fresh)) + 0.06


def slow_and_fast(x):
    """Two classes: half of the images need a change of .3 a pixel, the others of .05."""
    return ops.stack([ops.zeros_like(x[:, 0, 0, 0]), ops.mean(x, axis=(1, 2, 3)) - 0.55], axis=1)


def test_with_patience_images_are_left_that_will_not_come_over_and_only_these():
    x = ops.convert_to_tensor(np.stack([np.full((2, 2, 1), v, "float32") for v in (0.1, 0.38, 0.5)]))
    one = attacks.PGD(threat="linf(eps=0.2)", steps=20, random_start=False, patience=1.0)
    task = Task(slow_and_fast, Examples.of_batch(x, ops.zeros(3, "int32"), eps=one.threat.radii(x)))
    found, all_of_it = one.run(task), one.replace(patience=None).run(task)
    np.testing.assert_array_equal(found.success, [False, True, True])
    np.testing.assert_array_equal(all_of_it.success, found.success)
    assert all_of_it.rounds[0] == 20 and 4 <= found.rounds[0] < 20
    np.testing.assert_array_equal(found.rounds[1:], all_of_it.rounds[1:])
    with pytest.raises(InvalidInput, match="`patience` must be None, with several `restarts`"):
        attacks.PGD(restarts=2, patience=1.0)


def test_a_minimal_attack_tells_by_its_norms_alone(net, images):
    (row,) = evaluate(net, *images, "fmn(threat=linf(), steps=20)", eps=RADII)["attacks"]
    result = attack(net, *images, "fmn(threat=linf(), steps=20)")
    held = [float((result.clean & ~(result.success & (result.distance <= r))).mean()) for r in RADII]
    assert row["curve"]["robust_accuracy"] == pytest.approx(held) and row["curve"]["passes"] == 0


def test_the_area_is_that_of_the_broken_line_from_the_clean_accuracy():
    least = np.array([0.0, 0.1, 0.2, np.inf])
    found = curves.curve(least, [0.1, 0.2], 8)
    assert found["robust_accuracy"] == [0.5, 0.25] and found["passes"] == 2
    assert found["auc"] == pytest.approx((0.5 * (0.75 + 0.5) + 0.5 * (0.5 + 0.25)) / 2)
    assert curves.curve(least, [0.0, 0.2], 0)["auc"] == pytest.approx((0.75 + 0.25) / 2)


def test_an_attack_goes_on_in_half_of_its_steps_and_starts_from_what_it_is_given(net, images):
    more = attacks.PGD(threat="linf(eps=0.2)", steps=9, restarts=4, step_size=0.1).continued()
    assert (more.steps, more.restarts, more.step_size, more.patience) == (5, 1, pytest.approx(0.3), 2.0)
    assert attacks.FGSM().continued() is None
    x, y = (ops.convert_to_tensor(part) for part in images)
    examples = Examples.of_batch(x, y, eps=more.threat.radii(x), first=x + 1.0)
    first = more.begin(Task(as_logits(net), examples))["x"]
    np.testing.assert_allclose(first, np.clip(images[0] + 0.2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eps": []}, "`eps` must be the radii of a curve"),
        ({"eps": 0.1}, "`eps` must be the radii of a curve"),
        ({"eps": [-0.1]}, "`eps` must be finite and at least 0"),
        ({"eps": [0.1, np.nan], "attacks": []}, "`eps` must be finite"),
        ({"eps": RADII, "attacks": ["fgsm()", "deepfool()"]}, "`attacks` must be of one norm"),
        (
            {"eps": [2, 5], "attacks": ["pgd(threat=l0(eps=5))", "sigma_zero()"]},
            "`attacks` must be of one norm",
        ),
        ({"eps": RADII, "shard": "1/2", "resume": "somewhere"}, "`eps` must be None, with `shard`"),
    ],
)
def test_what_gives_no_curve_is_refused(options, said, net, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=said):
        evaluate(net, *images, **{"attacks": "fgsm()", **options})
