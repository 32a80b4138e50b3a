"""PGD, BIM and FGSM: steps, restarts, and objectives."""

import numpy as np
from keras import ops

from keras_adv import attack, registry
from keras_adv.attacks import BIM, FGSM, PGD
from keras_adv.threats import Linf


def test_fgsm_is_one_full_step_of_bim(net, digits):
    x, y = digits.test[0][:32], digits.test[1][:32]
    one, other = FGSM(threat=Linf(eps=0.07)), BIM(threat=Linf(eps=0.07), steps=1, step_size=1.0)
    np.testing.assert_allclose(one(net, x, y).images, other(net, x, y).images, atol=1e-5)


def test_more_restarts_never_leave_more_standing(net, digits):
    x, y = digits.test[0][:128], digits.test[1][:128]
    once = attack(net, x, y, "pgd(threat=linf(eps=0.12), steps=1)")
    often = attack(net, x, y, "pgd(threat=linf(eps=0.12), steps=1, restarts=4)")
    assert (often.success >= once.success).all() and often.success.sum() > once.success.sum()


def test_restarts_look_at_the_last_image_of_each_run():
    # a model that only the very last step of a run can fool
    def logits(v):
        z = ops.max(ops.abs(v - 0.5), axis=(1, 2, 3)) - 0.0999
        return ops.stack([-z, z], axis=1) + 0.0 * ops.sum(v)

    x, y = np.full((4, 8, 8, 1), 0.5, "float32"), np.zeros(4, "int32")
    two = PGD(threat=Linf(eps=0.1), steps=2, step_size=0.5, restarts=2, random_start=False)
    x[:, 0, 0, 0] = 0.5001  # a slope to start on
    assert np.asarray(two(logits, x, y).success).all()


def test_every_loss_is_climbed(net, digits):
    x, y = digits.test[0][:64], digits.test[1][:64]
    for loss in ("cross_entropy", "margin", "dlr"):
        found = registry.parse("attack", f"pgd(threat=linf(eps=0.15), steps=20, loss='{loss}')")(net, x, y)
        assert np.asarray(found.success).mean() > 0.5, loss


def test_step_size_is_in_units_of_eps():
    assert registry.parse("attack", "pgd(steps=25)").step_length == 0.1
    assert registry.parse("attack", "pgd(step_size=0.2)").step_length == 0.2
