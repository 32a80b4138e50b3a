"""Objectives as specs, each by its formula, and what they do to a net."""

import keras
import numpy as np
import pytest
from closed_forms import task_of
from keras import ops

from keras_adv import InvalidInput, attack, losses, registry
from keras_adv.attacks import PGD, Objective
from keras_adv.attacks.objectives import CrossEntropy, SoftmaxCrossEntropy
from keras_adv.backend import value_and_grad
from keras_adv.defenses.mat import MATLoss
from keras_adv.defenses.trades import TradesLoss
from keras_adv.registry import register

Z = np.float32([[2.0, 1.0, -1.0, 0.5], [0.0, 3.0, 2.5, -2.0]])
Y = np.int32([0, 2])
X = np.zeros((2, 2, 2, 1), "float32")


def test_an_objective_with_options_is_part_of_an_attacks_spec():
    one = registry.parse("attack", "pgd(loss=mat_loss(alpha=0.1, beta=2.5))")
    assert one.loss == MATLoss(alpha=0.1, beta=2.5)
    text = registry.spec(one)
    assert text == "pgd(threat=linf(eps=0.1), loss=mat_loss(alpha=0.1, beta=2.5))"
    assert registry.parse("attack", text) == one


@pytest.mark.parametrize("text", ["pgd(loss='margin')", "pgd(loss=margin)", "pgd(loss=margin())"])
def test_bare_words_stay_legal(text):
    one = registry.parse("attack", text)
    assert one == PGD(loss="margin") and one.loss.name == "margin"
    assert registry.spec(one) == "pgd(threat=linf(eps=0.1), loss=margin())"


def test_words_of_older_cards_are_presets():
    assert registry.parse("attack", "pgd(loss='mat')").loss == MATLoss()
    assert registry.parse("attack", "pgd(loss='mat_6')").loss == MATLoss(beta=6.0)


def test_unknown_objectives_are_named():
    with pytest.raises(InvalidInput, match="Did you mean 'cross_entropy'"):
        PGD(loss="cross_entropi")


def value(objective, logits=Z, reference=None, **goals):
    """(B,) of logits that are given."""
    task = task_of(lambda v: logits, X, Y, **goals)
    return np.asarray(objective.value(task, task.x, ops.convert_to_tensor(logits), reference))


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


@pytest.mark.parametrize("name", ["cross_entropy", "softmax_cross_entropy"])
def test_cross_entropies_are_minus_log_p(name):
    one, log_p, target = registry.parse("objective", name), log_softmax(Z), np.int32([1, 3])
    np.testing.assert_allclose(value(one), -log_p[[0, 1], Y], rtol=1e-5)
    np.testing.assert_allclose(value(one, target=target), log_p[[0, 1], target], rtol=1e-5)


def test_scaled_and_margin_and_dlr_follow_their_formulas():
    parse = lambda name: registry.parse("objective", name)  # noqa: E731
    spread = Z.max(1, keepdims=True) - Z.mean(1, keepdims=True)
    np.testing.assert_allclose(value(parse("scaled")), value(CrossEntropy(), Z / spread), rtol=1e-5)
    np.testing.assert_allclose(value(parse("margin")), [1.0 - 2.0, 3.0 - 2.5], rtol=1e-6)
    np.testing.assert_allclose(value(parse("margin"), target=np.int32([1, 3])), [-1.0, -5.0], rtol=1e-6)
    np.testing.assert_allclose(value(parse("dlr")), [-1.0 / 1.5, 0.5 / 3.0], rtol=1e-5)


def test_the_loss_of_trades_is_cross_entropy_and_weighted_divergence():
    clean = np.float32([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 1.0]])
    kl = value(registry.parse("objective", "kl"), reference=clean)
    expected = (np.exp(log_softmax(clean)) * (log_softmax(clean) - log_softmax(Z))).sum(1)
    np.testing.assert_allclose(kl, expected, rtol=1e-5)
    trades = value(TradesLoss(weight=6.0), reference=clean)
    np.testing.assert_allclose(trades, value(CrossEntropy()) + 6.0 * kl, rtol=1e-5)


def gradient(objective, logits):
    """The gradient of the objective by the logits, for the true class 0."""
    task = task_of(lambda v: v, np.zeros((1, 2, 2, 1)))
    given = ops.convert_to_tensor(np.asarray(logits, "float32"))
    return np.asarray(value_and_grad(lambda z: (objective.value(task, task.x, z, None), 0), given)[2])[0]


def test_only_the_log_odds_hold_a_gradient_on_the_true_logit_where_the_net_is_sure():
    sure = [[50.0, 0.0, -3.0]]
    np.testing.assert_allclose(gradient(CrossEntropy(), sure)[0], -np.exp(-50.0) - np.exp(-53.0), rtol=1e-4)
    if keras.config.backend() == "tensorflow":  # JAX rounds 1 - p to 6e-8, not to 0
        assert gradient(SoftmaxCrossEntropy(), sure)[0] == 0.0


@pytest.mark.parametrize("gap", [1.0, 20.0, 60.0, 80.0])
def test_log_odds_keep_the_gradient_that_float64_sees(gap):
    z = np.array([[gap, 0.0, -1.0]], "float32")
    y = np.zeros(1, "int32")
    found, _, grad = value_and_grad(
        lambda v: (ops.softplus(losses.log_odds_against(v, y)), 0), ops.convert_to_tensor(z)
    )
    exact = z.astype("float64")
    p = np.exp(exact - exact.max())
    p /= p.sum()
    rest = p[0, 1:].sum()
    np.testing.assert_allclose(found, np.log1p(rest / p[0, 0]), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(grad)[0, 1:], p[0, 1:], rtol=1e-4)
    np.testing.assert_allclose(np.asarray(grad)[0, 0], -rest, rtol=1e-4)


@pytest.mark.parametrize("loss", ["kl", "features"])
def test_losses_that_compare_with_the_clean_image_break_the_net(loss, net, digits):
    x, y = digits.test[0][:80], digits.test[1][:80]
    result = attack(net, x, y, f"pgd(threat=linf(eps=0.2), steps=20, loss={loss!r})")
    assert result.success.mean() > 0.4
    assert (result.distance <= 0.2 + 1e-6).all()
    with pytest.raises(InvalidInput, match="targeted form"):
        attack(net, x, y, f"pgd(loss={loss!r})", targets="next")


def test_a_model_without_features_says_so(digits):
    inputs = keras.Input(digits.shape)
    maps = keras.layers.Conv2D(10, 3)(inputs)  # and no Dense layer
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(maps))
    x = digits.test[0][:8]
    with pytest.raises(InvalidInput, match="named 'features', or a Dense layer"):
        attack(model, x, model.predict(x, verbose=0).argmax(1), "pgd(loss='features')")


@pytest.fixture
def last_logit(own_names):
    """An objective of a user, registered for one test."""

    @register("objective", "last_logit")
    class LastLogit(Objective):
        """The last logit, whatever the label."""

        def value(self, task, images, logits, reference):
            return logits[:, -1]

    return LastLogit()


def test_a_registered_objective_is_ascended_by_its_name(last_logit, net, images):
    x, y = images
    one = PGD(loss="last_logit", threat="linf(eps=0.2)", steps=20, random_start=False)
    assert one.loss == last_logit
    result = attack(net, x, y, one)
    assert net.predict(result.images, verbose=0)[:, -1].mean() > net.predict(x, verbose=0)[:, -1].mean()
