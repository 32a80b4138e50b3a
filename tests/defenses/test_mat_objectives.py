"""What whoever knows Manifold-Aware Training ascends."""

import numpy as np
import pytest
from keras import ops
from mat_scene import SMALL, terms_of, trained_net

from keras_adv import InvalidInput, attack
from keras_adv.attacks import Examples, Task
from keras_adv.backend import FrozenNet, Net, value_and_grad
from keras_adv.defenses.mat import (
    ASCENT,
    MAT,
    CosineDistance,
    CosineMargin,
    MATLoss,
)
from keras_adv.threats import Linf


@pytest.fixture(scope="module")
def trained():
    return trained_net()


def test_the_start_is_near_and_the_distance_has_a_gradient_there(trained, digits):
    x = ops.convert_to_tensor(digits.train[0][:24])
    examples = Examples.of_batch(x, ops.zeros(24, "int32"), eps=Linf(eps=0.1).radii(x))
    task = Task(FrozenNet(trained), examples)
    start = ASCENT.start(task)["x"]
    inside = np.asarray(x == np.clip(x, 0.01, 0.99))
    moved = np.asarray(start - x)
    assert moved[inside].std() == pytest.approx(0.001, rel=0.1)
    far = ASCENT.replace(random_start=True).start(task)["x"]
    assert np.asarray(far - x)[inside].std() > 0.03

    def slope(v):
        distance = CosineDistance()
        return value_and_grad(
            lambda u: (distance.value(task, u, None, distance.clean_reference(task)), 0), v
        )[2]

    at_x, away = (np.abs(np.asarray(slope(v))).max() for v in (x, start))
    assert at_x < 1e-3 * away


def test_the_adaptive_objective_is_the_loss_of_training(trained, digits):
    """With x' the image looked at, and the terms of the label taken there as well."""
    x, y = (ops.convert_to_tensor(part[:24]) for part in digits.train)
    y = ops.cast(y, "int32")
    defense = MAT(attack=SMALL)
    images = defense.prepare({"net": Net(trained)}, x, y, ops.cast(1, "uint32"))["adversarial"]
    task, loss = Task(FrozenNet(trained), Examples.of_batch(x, y)), MATLoss()
    got = loss.value(task, images, None, loss.clean_reference(task))
    terms, _ = terms_of(defense, trained, images, y, adversarial=x)
    np.testing.assert_allclose(got, terms["ftc"] + terms["so"] + terms["bibo"], rtol=1e-4, atol=1e-6)
    half = MATLoss(alpha=0.5, beta=6.0).value(task, images, None, loss.clean_reference(task))
    want = terms["ftc"] + 0.5 * terms["so"] + 6 * terms["bibo"]
    np.testing.assert_allclose(half, want, rtol=1e-4, atol=1e-6)


def test_the_cosine_margin_is_blind_to_lengths_and_tells_mistakes(trained, digits):
    x, y = (ops.convert_to_tensor(part[:80]) for part in digits.test)
    y = ops.cast(y, "int32")
    value, task = CosineMargin().value, Task(FrozenNet(trained), Examples.of_batch(x, y))
    plain = np.asarray(value(task, x, None, None))
    wrong = trained.predict(x, verbose=0).argmax(1) != np.asarray(y)
    np.testing.assert_array_equal(plain > 0, wrong)
    target = (y + 1) % 10
    aimed = np.asarray(value(task.with_goal(target=target), x, None, None))
    assert (aimed[~wrong] < 0).all()
    features = trained.get_layer("features")
    old = features.get_weights()
    try:
        features.set_weights([50 * w for w in old])
        longer = np.asarray(value(task, x, None, None))
    finally:
        features.set_weights(old)
    np.testing.assert_allclose(longer, plain, atol=1e-5)


@pytest.mark.parametrize("loss", ["mat", "cosine", "cosine_distance"])
def test_its_objectives_break_the_net(loss, trained, digits):
    x, y = digits.test[0][:60], digits.test[1][:60]
    result = attack(trained, x, y, f"pgd(threat=linf(eps=0.3), steps=20, loss={loss!r})")
    assert result.success.mean() > 0.5 and (result.distance <= 0.3 + 1e-6).all()


def test_the_adaptive_attack_knows_the_defense():
    attacks = MAT(beta=6.0).adaptive_attack("linf(eps=0.1)").attacks
    used = [one.loss for one in attacks if hasattr(one, "loss")]
    assert MATLoss(beta=6.0) in used
    assert {"mat_loss", "cosine", "scaled", "margin"} <= {objective.name for objective in used}


def test_its_objectives_refuse_other_nets(net, digits):
    x, y = digits.test[0][:8], digits.test[1][:8]
    with pytest.raises(InvalidInput, match="ends in a layer 'centres'"):
        attack(net, x, y, "pgd(loss='cosine')")
    with pytest.raises(InvalidInput, match="targeted form"):
        attack(net, x, y, "pgd(loss='mat')", targets="next")
