"""What adaptive attacks rest on: the scale of logits, random nets, a defense's own objective."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks.objectives import FeatureDistance
from keras_adv.defenses import Adversarial
from keras_adv.evaluation import flags


@pytest.mark.slow
def test_scaled_loss_is_blind_to_the_scale_of_logits(net, scaled, digits):
    x, y = digits.test[0][:80], digits.test[1][:80]
    spec = "pgd(threat=linf(eps=0.1), steps=10, loss='{}', random_start=False)"
    plain = attack(net, x, y, spec.format("scaled"))
    for factor in (1e-3, 1e4):
        with scaled(net, factor):
            other = attack(net, x, y, spec.format("scaled"))
        assert abs(other.success.mean() - plain.success.mean()) < 0.02
    # and it is what saturation hides: at 1e4 the cross-entropy's gradient is 0 for most images
    with scaled(net, 1e4):
        hidden = attack(net, x, y, spec.format("cross_entropy"))
        warnings = flags(net, x, y)
    assert hidden.success.mean() < plain.success.mean() - 0.1
    if keras.config.backend() == "tensorflow":  # JAX rounds 1 - p to 6e-8, not to 0
        assert any("gradient is exactly 0" in text for text in warnings)


@keras.saving.register_keras_serializable(package="tests")
class AlwaysNoise(keras.layers.Layer):
    """Noise in inference too: a randomised defense."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + 0.5 * keras.random.normal(ops.shape(x), seed=self.seeds)


@pytest.mark.slow
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


def test_a_defense_names_its_own_objective():
    class Own(Adversarial):
        def objectives(self):
            return (FeatureDistance(),)

    made = Own().adaptive_attack("linf(eps=0.2)", eot=3)
    names = [one.loss.name for one in made.attacks if hasattr(one, "loss")]
    assert names == ["cross_entropy", "scaled", "features", "margin"]
    assert all(one.eot == 3 for one in made.attacks if hasattr(one, "eot"))
    assert {one.threat.eps for one in made.parts(10)} == {0.2}
    plain = Adversarial().adaptive_attack("linf(eps=0.2)")
    assert [one.loss.name for one in plain.attacks if hasattr(one, "loss")] == [
        "cross_entropy",
        "scaled",
        "margin",
    ]


@pytest.mark.slow
def test_the_adaptive_attack_is_at_least_its_strongest_part(net, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    made = Adversarial().adaptive_attack("linf(eps=0.05)")
    made = made.replace(attacks=tuple(one.replace(steps=20) for one in made.attacks))
    whole = attack(net, x, y, made)
    assert list(whole.parts.values()) == sorted(whole.parts.values(), reverse=True)
    for part in (made.attacks[0], made.attacks[-1]):
        one = attack(net, x, y, part)
        alone = (one.success & (one.distance <= 0.05)).mean()
        assert whole.success.mean() >= alone - 0.02
    assert (whole.distance <= 0.05 + 1e-6).all()


@pytest.mark.parametrize("name", ["apgd", "pdpgd"])
def test_the_adaptive_attack_has_full_settings(name):
    made = Adversarial().adaptive_attack("linf(eps=0.05)")
    defaults = registry.parse("attack", name)
    assert all(one.steps == defaults.steps for one in made.attacks if one.name == name)
