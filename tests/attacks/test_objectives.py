"""What adaptive attacks rest on: gradients that survive saturation, logit scale, random nets, a defense's own loss."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, attack, losses
from keras_adv.attacks import PGD
from keras_adv.attacks.objectives import OBJECTIVES, objective
from keras_adv.backend import value_and_grad
from keras_adv.defenses import Adversarial
from keras_adv.evaluation import flags


@pytest.mark.parametrize("gap", [1.0, 20.0, 60.0, 80.0])
def test_log_odds_keep_the_gradient_that_float64_sees(gap):
    z = np.array([[gap, 0.0, -1.0]], "float32")
    y = np.zeros(1, "int32")
    value, _, grad = value_and_grad(
        lambda v: (ops.softplus(losses.log_odds(v, y)), 0), ops.convert_to_tensor(z)
    )
    exact = z.astype("float64")
    p = np.exp(exact - exact.max())
    p /= p.sum()
    rest = p[0, 1:].sum()
    np.testing.assert_allclose(value, np.log1p(rest / p[0, 0]), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(grad)[0, 1:], p[0, 1:], rtol=1e-4)
    np.testing.assert_allclose(np.asarray(grad)[0, 0], -rest, rtol=1e-4)


def scaled_net(net, factor):
    inputs = keras.Input(net.input_shape[1:])
    return keras.Model(inputs, net(inputs) * factor)


def test_scaled_loss_is_blind_to_the_scale_of_logits(net, digits):
    x, y = digits.test[0][:80], digits.test[1][:80]
    spec = "pgd(threat=linf(eps=0.1), steps=10, loss='{}', random_start=False)"
    plain = attack(net, x, y, spec.format("scaled"))
    for factor in (1e-3, 1e4):
        other = attack(scaled_net(net, factor), x, y, spec.format("scaled"))
        assert abs(other.success.mean() - plain.success.mean()) < 0.02
    # and it is what saturation hides: at 1e4 the cross-entropy's gradient is 0 for most images
    hidden = attack(scaled_net(net, 1e4), x, y, spec.format("cross_entropy"))
    assert hidden.success.mean() < plain.success.mean() - 0.1
    if keras.config.backend() == "tensorflow":  # JAX rounds 1 - p to 6e-8, not to 0
        assert any("gradient is exactly 0" in flag for flag in flags(scaled_net(net, 1e4), x, y))


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
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))
    x, y = digits.test[0][:8], digits.test[1][:8]
    with pytest.raises(InvalidInput, match="features"):
        attack(model, x, model.predict(x, verbose=0).argmax(1), "pgd(loss='features')")
    assert len(y)


@keras.saving.register_keras_serializable(package="tests")
class AlwaysNoise(keras.layers.Layer):
    """Noise in inference too: a randomised defense."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + 0.5 * keras.random.normal(ops.shape(x), seed=self.seeds)


def test_random_nets_are_flagged_and_draw_anew(net, digits):
    inputs = keras.Input(digits.shape)
    random = keras.Model(inputs, net(AlwaysNoise()(inputs)))
    x, y = digits.test[0][:60], digits.test[1][:60]
    assert any("answers differently" in flag for flag in flags(random, x, y))
    assert not any("answers differently" in flag for flag in flags(net, x, y))
    spec = "pgd(threat=linf(eps=0.3), steps=5, random_start=False, eot={})"
    once, often = (attack(random, x, y, spec.format(n)) for n in (1, 4))
    assert np.abs(once.images - often.images).max() > 1e-3
    assert (often.passes[often.clean] % 4 == 0).all()


def test_a_defense_names_its_own_objective(net, digits):
    @objective("last_logit")
    def last_logit(task, images, z, reference):
        """Climbs the last logit, whatever the label."""
        return z[:, -1]

    class Own(Adversarial):
        attacked = ("last_logit",)

    try:
        made = Own().adaptive_attack("linf(eps=0.2)")
        losses_used = [getattr(one, "loss", None) for one in made.attacks]
        assert losses_used[:3] == ["cross_entropy", "scaled", "last_logit"]
        x, y = digits.test[0][:40], digits.test[1][:40]
        single = attack(
            net, x, y, "pgd(threat=linf(eps=0.2), steps=20, loss='last_logit', random_start=False)"
        )
        assert net.predict(single.images, verbose=0)[:, -1].mean() > net.predict(x, verbose=0)[:, -1].mean()
    finally:
        OBJECTIVES.pop("last_logit")


def test_the_adaptive_attack_is_at_least_its_strongest_part(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    whole = attack(net, x, y, Adversarial().adaptive_attack("linf(eps=0.05)"))
    assert list(whole.parts.values()) == sorted(whole.parts.values(), reverse=True)
    for part in ("apgd(threat=linf(eps=0.05))", "pdpgd(threat=linf(eps=0.05))"):
        one = attack(net, x, y, part)
        alone = (one.success & (one.distance <= 0.05)).mean()
        assert whole.success.mean() >= alone - 0.02
    assert (whole.distance <= 0.05 + 1e-6).all()


def test_unknown_objectives_are_named():
    with pytest.raises(InvalidInput, match="Did you mean 'cross_entropy'"):
        PGD(loss="cross_entropi")
