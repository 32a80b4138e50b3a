"""Laws of every registered attack about its goal: radii, targets, guides, and the order of a batch."""

import keras
import numpy as np
import pytest
from keras import ops
from test_every_attack import BOUNDED, NAMES, quick

from keras_adv import InvalidInput, attack, noise, registry
from keras_adv.attacks import Task
from keras_adv.attacks.task import ask

TARGETABLE = [n for n in NAMES if quick(n).targetable]


@pytest.fixture(scope="module")
def images(digits):
    return digits.test[0][:12], digits.test[1][:12]


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_batch_permutes_the_result(name, net, images):
    x, y = images
    one, order = quick(name), np.random.default_rng(0).permutation(len(x))
    seeds = np.asarray(noise.seeds(0, np.arange(len(x))))
    guide = x[[int(np.flatnonzero(y != label)[0]) for label in y]] if one.guided else None

    def run(rows):
        parts = [ops.convert_to_tensor(part[rows]) for part in (x, y, seeds)]
        eps = one.threat.radii(parts[0])
        return one.run(Task(ask(net), *parts, eps, None, None if guide is None else guide[rows]))

    plain, mixed = run(np.arange(len(x))), run(order)
    np.testing.assert_allclose(mixed.distance, np.asarray(plain.distance)[order], rtol=2e-2, atol=2e-3)
    np.testing.assert_array_equal(mixed.success, np.asarray(plain.success)[order])


@pytest.mark.parametrize("name", BOUNDED)
def test_each_image_has_its_own_radius(name, net, images):
    x, y = images
    one = quick(name)
    full = one.threat.eps
    eps = np.where(np.arange(len(x)) % 2, full, full / 2).astype("float32")
    mixed = attack(net, x, y, one, eps=eps)
    assert (mixed.distance <= eps * (1 + 1e-6)).all()
    alone = attack(net, x, y, one)
    np.testing.assert_allclose(mixed.distance[1::2], alone.distance[1::2], rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("name", TARGETABLE)
def test_a_target_is_what_success_means(name, net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]  # every class is there, to be a guide
    one = quick(name)
    if one.contract == "bounded":
        one = registry.with_values(one, {"threat.eps": 0.5 if one.threat.name == "linf" else 5.0})
    result = attack(net, x, y, one, targets="runner_up")
    logits = np.where(np.arange(10) == y[:, None], -np.inf, net.predict(x, verbose=0))
    reached = net.predict(result.images, verbose=0).argmax(1) == logits.argmax(1)
    np.testing.assert_array_equal(result.success[result.clean], reached[result.clean])
    assert result.success.mean() > 0.3


@pytest.mark.parametrize("name", [n for n in NAMES if n not in TARGETABLE])
def test_an_attack_without_targets_says_so(name, net, images):
    with pytest.raises(InvalidInput, match="has no targeted form"):
        attack(net, *images, quick(name), targets="next")


def test_words_for_targets(net, images):
    x, y = images
    one = "pgd(threat=linf(eps=1.0), steps=1)"
    for word in ("next", "random", "least_likely", "runner_up"):
        attack(net, x, y, one, targets=word)
    with pytest.raises(InvalidInput, match="runner_up"):
        attack(net, x, y, one, targets="runnerup")
    with pytest.raises(InvalidInput, match="classes other than y"):
        attack(net, x, y, one, targets=y)
    with pytest.raises(InvalidInput, match="class numbers"):
        attack(net, x, y, one, targets=np.full(len(y), 10))


@pytest.mark.parametrize("eps", [-0.1, float("nan"), [0.1, 0.2], "0.1", 2.0])
def test_bad_radii_are_refused(eps, net, images):
    with pytest.raises(InvalidInput, match="eps"):
        attack(net, *images, "pgd()", eps=eps)


def test_radii_share_what_is_compiled(net, images):
    from keras_adv.evaluation.compiled import _cache

    x, y = images
    attack(net, x, y, "fgsm(threat=linf(eps=0.1))")
    known = len(_cache[net])
    for eps in (0.05, 0.2):
        attack(net, x, y, f"fgsm(threat=linf(eps={eps}))")
    assert len(_cache[net]) == known


def test_probabilities_and_images_out_of_range_name_their_cause(net, images):
    x, y = images
    inputs = keras.Input(x.shape[1:])
    soft = keras.Model(inputs, keras.layers.Softmax()(net(inputs)))
    with pytest.raises(InvalidInput, match="probabilities"):
        attack(soft, x, y, "pgd()")
    with pytest.raises(InvalidInput, match=r"0\.\.255"):
        attack(net, x * 255, y, "pgd()")
