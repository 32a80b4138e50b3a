"""Attacks over a data set: slots, costs, progress, ties."""

import itertools

import keras
import numpy as np
import pytest

from keras_adv import attack, noise, registry
from keras_adv.backend import Net, compile
from keras_adv.evaluation.goals import make_examples
from keras_adv.evaluation.image_set import classify
from keras_adv.evaluation.runner import attack_examples


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
    result = attack(net, x, y, "ddn(steps=10)")
    assert not result.clean[:5].any() and result.success[:5].all()
    assert (result.passes[:5] == 0).all() and (result.distance[:5] == 0).all()


def test_progress_reaches_the_end(net, digits):
    seen = []
    x, y = (part[:50] for part in digits.test)
    attack(net, x, y, "fgsm()", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (50, 50) and [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_stages_name_the_part_and_end_with_nothing_left(net, digits):
    seen = []
    images = classify(net, *(part[:50] for part in digits.test), 50)
    chosen = registry.parse("attack", "worst(attacks=(pgd(steps=6), square(steps=30)))")
    examples = make_examples(chosen, images, 0, None, None)
    result = attack_examples(net, images, examples, chosen, 16, stages=seen.append)
    right = result.clean.sum()
    assert (seen[0].spent, seen[0].number, seen[0].parts) == (0, 1, 2)
    assert seen[0].left == pytest.approx(right * (6 + 30 / 3))  # a forward pass is a third
    forward = result.forward_passes.sum()
    assert seen[-1].spent == pytest.approx(result.passes.sum() - forward * 2 / 3)
    assert seen[-1].left == 0 and seen[-1].part.startswith("square") and seen[-1].number == 2
    assert all(a.spent <= b.spent + 1e-9 for a, b in itertools.pairwise(seen))
    assert any(0 < stage.spent < 16 * 6 for stage in seen)  # also before a batch is done


def test_ties_are_decided_alike_clean_and_attacked(net, digits):
    # -0.0 and 0.0 are equal
    inputs = keras.Input(digits.shape)
    flat_net = keras.Model(inputs, net(inputs) * 0.0)
    x = digits.test[0][:16]
    result = attack(flat_net, x, np.zeros(16, "int32"), "fgsm()")
    assert result.clean.all() and not result.success.any()
