"""What `evaluate` reports."""

import json

import numpy as np
import pytest

from keras_adv import attack, evaluate
from keras_adv.evaluation.records import interval
from keras_adv.evaluation.tables import table


def test_robust_accuracy_falls_with_eps_to_zero(net, digits):
    x, y = digits.test[0][:120], digits.test[1][:120]
    rows = evaluate(net, x, y, [f"pgd(threat=linf(eps={eps}))" for eps in (0.02, 0.1, 0.2, 1.0)])["attacks"]
    robust = [row["robust_accuracy"] for row in rows]
    assert robust == sorted(robust, reverse=True) and robust[-1] == 0


def test_results_have_the_promised_form(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    results = evaluate(net, x, y, ["deepfool()", "deepfool(threat=l2(eps=0.5))", "fgsm()"])
    free, bounded, fgsm = results["attacks"]
    names = {"spec", "robust_accuracy", "success_rate", "mean_norm", "median_norm", "seconds"}
    for row in results["attacks"]:
        assert names | {"gradients_per_image"} <= set(row)
    assert free["robust_accuracy"] is None and free["mean_norm"] == bounded["mean_norm"]
    direct = attack(net, x, y, "deepfool()")
    assert bounded["robust_accuracy"] == np.mean(direct.clean & (direct.distance > 0.5))
    assert fgsm["gradients_per_image"] == pytest.approx(direct.clean.mean())
    assert results["clean_accuracy"] == direct.clean.mean() and results["n"] == 60
    json.dumps(results, allow_nan=False)
    assert table(results).row_count == 3


def test_with_targets_a_row_says_what_is_still_correct(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    attacks = ["pgd(threat=linf(eps=0.15), steps=5)", "deepfool()"]
    results = evaluate(net, x, y, attacks[0], targets="random")
    made = attack(net, x, y, attacks[0], targets="random")
    guess = net.predict(made.images, verbose=0).argmax(1)
    (row,) = results["attacks"]
    assert row["still_correct"] == (guess == y).mean() < row["robust_accuracy"]  # others are third classes
    assert [c.header for c in table(results).columns][3] == "still correct"
    assert "still_correct" not in evaluate(net, x, y, attacks[1])["attacks"][0]


def test_interval_is_wilsons():
    assert interval(95, 100) == [0.8882, 0.9785]
    low, high = interval(0, 50)
    assert low == 0 and 0 < high < 0.1


def test_evaluate_without_attacks_is_clean_accuracy(net, digits):
    x, y = digits.test
    assert evaluate(net, x, y, [])["clean_accuracy"] == (net.predict(x, verbose=0).argmax(1) == y).mean()
