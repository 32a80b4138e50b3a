"""Adversarial training: its loss on a linear net, and the papers' settings."""

import numpy as np
import pytest
from keras import ops

from keras_adv import registry
from keras_adv.attacks import FGSM
from keras_adv.backend import Net
from keras_adv.defenses.adversarial import Adversarial
from keras_adv.losses import cross_entropy
from keras_adv.threats import Linf


@pytest.mark.parametrize("mix", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("box", [True, False])
def test_the_loss_is_a_mix_of_both_cross_entropies(box, mix, linear, grey):
    """FGSM of a linear softmax net is known: x + eps sign(W (p - e_y))."""
    model, w, b = linear
    x, y = np.clip(grey[0] + 0.45, 0, 1).astype("float32"), grey[1]  # near the upper side of the box
    defense = Adversarial(attack=FGSM(threat=Linf(eps=0.2, box=box)), mix=mix)
    nets = {"net": Net(model)}
    batch = {"x": ops.convert_to_tensor(x), "y": ops.convert_to_tensor(y)}
    batch |= defense.prepare(nets, batch["x"], batch["y"], ops.cast(1, "uint32"))
    z = x.reshape(len(x), -1).astype("float64") @ w + b
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    moved = x + 0.2 * np.sign((p - np.eye(5)[y]) @ w.T).reshape(x.shape)
    moved = np.clip(moved, 0, 1) if box else moved
    np.testing.assert_allclose(batch["adversarial"], moved, atol=1e-5)
    assert box or moved.max() > 1
    found = defense.moves()[0].loss(nets, batch)
    want = cross_entropy(ops.convert_to_tensor(moved.reshape(len(x), -1) @ w + b, "float32"), y)
    np.testing.assert_allclose(found["adversarial"], mix * np.asarray(want), rtol=1e-3, atol=1e-4)
    assert ("cross_entropy" in found) == (mix < 1)
    if mix < 1:
        clean = (1 - mix) * np.asarray(cross_entropy(nets["net"].logits(batch["x"]), y))
        np.testing.assert_allclose(found["cross_entropy"], clean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("data", "images", "steps"), [("mnist", 60000, 100_000), ("cifar", 50000, 80_000)])
def test_madrys_presets_have_his_steps(data, images, steps):
    recipe = registry.parse("recipe", f"adversarial_{data}")
    of_epoch = int(images * (1 - recipe.validation)) // recipe.batch_size
    assert recipe.epochs * of_epoch == pytest.approx(steps, rel=0.005)
    attack, defense = recipe.defense.attack, recipe.defense
    length = attack.step_length * attack.threat.eps
    assert (attack.threat.eps, attack.steps) == ((0.3, 40) if data == "mnist" else (8 / 255, 7))
    assert length == pytest.approx(0.01 if data == "mnist" else 2 / 255) and attack.random_start
    assert defense.mix == 1 and defense.optimizer.learning_rate == (1e-4 if data == "mnist" else 0.1)
    if data == "cifar":
        drops = [epoch * of_epoch for epoch in defense.optimizer.schedule.at]
        assert drops == pytest.approx([40_000, 60_000], rel=0.005)
        rate = defense.optimizer.build(of_epoch, recipe.epochs).learning_rate
        assert float(rate) == pytest.approx(0.1)
        assert recipe.model.per_image and recipe.model.shortcut == "pad"


@pytest.mark.parametrize(
    ("name", "eps"), [("adversarial_mnist_thesis3", 0.2), ("adversarial_mnist_thesis4", 0.1)]
)
def test_the_baselines_of_the_thesis(name, eps):
    recipe = registry.parse("recipe", name)
    assert (recipe.defense.attack.name, recipe.defense.attack.threat.eps) == ("fgsm", eps)
    assert (recipe.defense.mix, recipe.epochs, recipe.batch_size) == (0.5, 100, 100)
    assert recipe.defense.collapse_guard() is None
