import json

import keras
import numpy as np
import pytest

from keras_adv import attack, audit, evaluate
from keras_adv.evaluation import pictures
from keras_adv.evaluation.report import interval, table


def test_refilled_slots_give_the_full_runs_robust_accuracy(net, digits):
    x, y = digits.test
    spec = "pgd(threat=linf(eps=0.2), steps=20)"
    result = attack(net, x, y, spec, batch_size=64)
    # the plain way: every image, every step, in one batch
    from keras_adv import noise, registry
    from keras_adv.backend import Net, compile

    one = registry.parse("attack", spec)
    seeds = noise.seeds(0, np.arange(len(x), dtype="uint32"))
    run = compile(lambda a, b, s: one.perturb(Net(net, frozen=True).logits, a, b, s), net)
    full = net.predict(np.asarray(run(x, y, seeds)), verbose=0).argmax(1) != y
    assert abs((~result.success).mean() - (~full).mean()) <= 0.005
    assert result.passes[result.clean].mean() < 0.6 * 20


def test_misclassified_images_cost_nothing_and_count_as_broken(net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40].copy()
    y[:5] = (y[:5] + 1) % 10
    result = attack(net, x, y, "deepfool()")
    assert not result.clean[:5].any() and result.success[:5].all()
    assert (result.passes[:5] == 0).all() and (result.distance[:5] == 0).all()


def test_robust_accuracy_falls_with_eps_to_zero(net, digits):
    x, y = digits.test[0][:120], digits.test[1][:120]
    rows = evaluate(net, x, y, [f"pgd(threat=linf(eps={eps}))" for eps in (0.02, 0.1, 0.2, 1.0)])["attacks"]
    robust = [row["robust_accuracy"] for row in rows]
    assert robust == sorted(robust, reverse=True) and robust[-1] == 0


def test_results_have_the_promised_form(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    results = evaluate(net, x, y, ["deepfool()", "deepfool(threat=l2(eps=0.5))", "fgsm()"])
    free, bounded, fgsm = results["attacks"]
    names = {
        "spec",
        "robust_accuracy",
        "success_rate",
        "mean_norm",
        "median_norm",
        "gradients_per_image",
        "seconds",
    }
    for row in results["attacks"]:
        assert names <= set(row)
    assert free["robust_accuracy"] is None and free["mean_norm"] == bounded["mean_norm"]
    direct = attack(net, x, y, "deepfool()")
    assert bounded["robust_accuracy"] == np.mean(direct.clean & (direct.distance > 0.5))
    assert fgsm["gradients_per_image"] == pytest.approx(direct.clean.mean())
    assert results["clean_accuracy"] == direct.clean.mean() and results["n"] == 60
    json.dumps(results, allow_nan=False)
    assert table(results).row_count == 3


def test_interval_is_wilsons():
    assert interval(95, 100) == [0.8882, 0.9785]
    low, high = interval(0, 50)
    assert low == 0 and 0 < high < 0.1


def test_evaluate_without_attacks_is_clean_accuracy(net, digits):
    x, y = digits.test
    assert evaluate(net, x, y, [])["clean_accuracy"] == (net.predict(x, verbose=0).argmax(1) == y).mean()


def test_audit_is_quiet_on_a_plain_net_and_speaks_on_a_masked_one(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    assert audit(net, x, y) == []
    masked = keras.Model(net.inputs, keras.layers.Lambda(keras.ops.stop_gradient)(net.output))
    findings = audit(masked, x, y)
    assert any("exactly 0" in text for text in findings)
    assert any("without a bound" in text for text in findings)


def test_audit_sees_a_cross_entropy_that_has_run_out_of_float32(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    steep = keras.Model(net.inputs, keras.layers.Rescaling(1e3)(net.output))
    assert any("PGD on the margin breaks" in text for text in audit(steep, x, y))


def test_progress_reaches_the_end(net, digits):
    seen = []
    attack(
        net,
        *(part[:50] for part in digits.test),
        "fgsm()",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (50, 50) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_pictures_are_drawn(net, digits, tmp_path):
    x, y = digits.test[0][:40], digits.test[1][:40]
    result = attack(net, x, y, "deepfool()")
    pictures.examples(x, result, y, "title", tmp_path / "a.png")
    pictures.curves(
        [{"epoch": 0, "loss": 1.0, "val_accuracy": 0.5}, {"epoch": 1, "loss": 0.5}], tmp_path / "b.png"
    )
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_ties_are_decided_alike_clean_and_attacked(net, digits):
    # -0.0 and 0.0 are equal
    inputs = keras.Input(digits.shape)
    flat_net = keras.Model(inputs, net(inputs) * 0.0)
    x = digits.test[0][:16]
    result = attack(flat_net, x, np.zeros(16, "int32"), "fgsm()")
    assert result.clean.all() and not result.success.any()
