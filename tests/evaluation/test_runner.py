"""Attacks over a data set: slots, costs, progress, ties."""

import keras
import numpy as np

from keras_adv import attack, noise, registry
from keras_adv.backend import Net, compile


def test_refilled_slots_give_the_full_runs_robust_accuracy(net, digits):
    x, y = digits.test
    spec = "pgd(threat=linf(eps=0.2), steps=20)"
    result = attack(net, x, y, spec, batch_size=64)
    # the plain way: every image, every step, in one batch
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


def test_progress_reaches_the_end(net, digits):
    seen = []
    x, y = (part[:50] for part in digits.test)
    attack(net, x, y, "fgsm()", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (50, 50) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_ties_are_decided_alike_clean_and_attacked(net, digits):
    # -0.0 and 0.0 are equal
    inputs = keras.Input(digits.shape)
    flat_net = keras.Model(inputs, net(inputs) * 0.0)
    x = digits.test[0][:16]
    result = attack(flat_net, x, np.zeros(16, "int32"), "fgsm()")
    assert result.clean.all() and not result.success.any()
