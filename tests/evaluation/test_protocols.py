"""rho as the papers define it, on linear models, where every perturbation is known."""

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput
from keras_adv.evaluation import reference_eps, rho

OVERSHOOT = 1.02


@pytest.fixture(scope="module")
def two():
    """Linear, of two classes, z_1 - z_0 = w x + b: net, images, labels, distances from the boundary."""
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=16).astype("float32"), np.float32(0.3)
    inputs = keras.Input((4, 4, 1))
    net = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    net.layers[-1].set_weights([np.stack([0 * w, w], 1), np.array([0, b], "float32")])
    x = rng.random((40, 4, 4, 1)).astype("float32")
    gap = x.reshape(40, -1) @ w + b
    labels = (gap > 0).astype("int32")
    labels[:7] = 1 - labels[:7]  # misclassified
    return net, x, labels, np.abs(gap) / np.linalg.norm(w)


def test_deep_defense_takes_all_images_from_the_predicted_class_over_centred_norms(two):
    net, x, y, distance = two
    norms = np.linalg.norm((x - x.mean(0)).reshape(40, -1), axis=1)
    wanted = (OVERSHOOT * (distance + 1e-4) / norms).mean()
    assert rho(net, x, y, "deep_defense") == pytest.approx(wanted, rel=2e-3)
    halved = rho(net, x, y, "deep_defense", mean=0.0)
    wanted = (OVERSHOOT * (distance + 1e-4) / np.linalg.norm(x.reshape(40, -1), axis=1)).mean()
    assert halved == pytest.approx(wanted, rel=2e-3)


def test_margin_takes_the_correct_ones_and_steps_of_one_half(two):
    net, x, y, distance = two
    norms = np.linalg.norm(x.reshape(40, -1), axis=1)

    def walked(left):
        """Steps of at most 0.5, overshoot included."""
        done = 0.0
        while done < left:
            done += min(OVERSHOOT * (left - done + 1e-4), 0.5)
        return done

    wanted = np.array([walked(d) for d in distance]) / norms
    assert rho(net, x, y, "margin") == pytest.approx(wanted[7:].mean(), rel=1e-3)


def test_critic_counts_the_misclassified_as_nothing_and_stays_in_the_box(two):
    net, x, y, distance = two
    ratios = OVERSHOOT * distance / np.linalg.norm(x.reshape(40, -1), axis=1)
    ratios[:7] = 0.0
    assert ratios.mean() * 0.99 < rho(net, x, y, "critic") < ratios.mean() * 1.3  # the box makes some longer


def test_rho_of_the_thesis_other_two_attacks(two):
    """The class scores are 0 and z = w x + b: p reaches C where |z| = log(C / (1 - C))."""
    net, x, y, distance = two
    norms = np.linalg.norm(x.reshape(40, -1), axis=1)
    slope = np.linalg.norm(net.layers[-1].get_weights()[0][:, 1])
    least = distance / norms
    least[:7] = 0.0
    found = rho(net, x, y, "critic", attack="ddn(steps=60)")
    assert least.mean() < found < 1.1 * least.mean()
    # 3 steps of 0.1 at most: nowhere is the confidence reached, each last try counts
    short = "high_confidence(steps=3, confidence=0.9999)"
    last = np.where(np.arange(40) < 7, 0.0, 0.3) / norms
    assert rho(net, x, y, "critic", attack=short) == pytest.approx(last.mean(), rel=0.05)
    sure = "high_confidence(steps=100, confidence=0.9)"
    wanted = least + np.where(np.arange(40) < 7, 0.0, np.log(9) / slope) / norms
    assert wanted.mean() < rho(net, x, y, "critic", attack=sure) < 1.4 * wanted.mean()


def test_what_is_no_definition_or_no_mean_is_refused(two):
    net, x, y, _ = two
    for attack in ("pgd()", "pdpgd()"):
        with pytest.raises(InvalidInput, match="`attack` must be a minimal attack in l2"):
            rho(net, x, y, "critic", attack=attack)
    with pytest.raises(InvalidInput, match="`definition` must be one of"):
        rho(net, x, y, "thesis")
    with pytest.raises(InvalidInput, match="`mean` must be of shape"):
        rho(net, x, y, "deep_defense", mean=np.zeros((3, 3, 1)))


def test_without_the_box_fgsm_and_deepfool_reach_the_known_distance_and_say_so(two):
    net, x, y, distance = two
    right = x[7:], y[7:]
    rows = keras_adv.evaluate(
        net, *right, ["fgsm(threat=linf(eps=0.9, box=False))", "deepfool(threat=l2(box=False), overshoot=0)"]
    )["attacks"]
    w = net.layers[-1].get_weights()[0][:, 1]
    held = distance[7:] * np.linalg.norm(w) > 0.9 * np.abs(w).sum()
    assert rows[0]["robust_accuracy"] == pytest.approx(held.mean()) == rows[0]["robust_accuracy_of_correct"]
    assert rows[1]["mean_norm"] == pytest.approx((distance[7:] + 1e-4).mean(), rel=1e-4)
    assert rows[0]["outside"] > 20 and rows[0]["flags"] and "outside" in rows[0]["flags"][0]
    boxed = keras_adv.attack(net, *right, "fgsm(threat=linf(eps=0.9))").images
    found = keras_adv.attack(net, *right, "fgsm(threat=linf(eps=0.9, box=False))").images
    np.testing.assert_allclose(np.clip(found, 0, 1), boxed, atol=1e-6)


def test_only_attacks_that_can_leave_the_box_take_such_a_threat():
    with pytest.raises(InvalidInput, match="`threat` must be one with the box"):
        keras_adv.attacks.Square(threat="linf(eps=0.1, box=False)")


def test_balls_with_and_without_the_box_share_no_worst_case(two):
    net, x, y, _ = two
    specs = [f"fgsm(threat=linf(eps=0.2, box={box}))" for box in (True, False)]
    assert "worst" not in keras_adv.evaluate(net, x, y, specs)


@pytest.mark.parametrize("accuracy", [0.5, 0.3])
def test_the_reference_radius_is_where_fgsm_leaves_so_much(two, accuracy):
    net, x, y, distance = two
    w = net.layers[-1].get_weights()[0][:, 1]
    needed = np.where(np.arange(40) < 7, 0.0, distance * np.linalg.norm(w) / np.abs(w).sum())
    left = [(needed > eps).mean() for eps in np.sort(needed)]
    wanted = np.sort(needed)[np.argmax(np.array(left) <= accuracy)]
    assert reference_eps(net, x, y, accuracy) == pytest.approx(wanted, abs=1 / 64 / 256 + 1e-6)


def test_a_net_that_fgsm_does_not_bring_so_low_has_no_reference_radius(two):
    net, x, y, _ = two
    with pytest.raises(InvalidInput, match="`model` must be one that FGSM brings"):
        away = keras.models.clone_model(net)
        away.set_weights([0 * w for w in net.get_weights()])  # always class 0
        reference_eps(away, x[:20], 0 * y[:20], 0.5)
