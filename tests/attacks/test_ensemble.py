"""Ensembles: the worst of several attacks, and AutoAttack."""

import keras
import numpy as np
import pytest

from keras_adv import InvalidInput, attack, registry

AA = "autoattack(threat={}, steps=20, queries=150)"


@pytest.mark.slow
@pytest.mark.parametrize("threat", ["linf(eps=0.1)", "l1(eps=3)"])  # two lists of parts
def test_autoattack_is_the_worst_of_its_parts(threat, net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]
    whole = attack(net, x, y, AA.format(threat))
    left = list(whole.parts.values())
    assert left == sorted(left, reverse=True) and left[-1] == (~whole.success & whole.clean).sum()
    assert (whole.distance <= registry.parse("threat", threat).eps * (1 + 1e-6)).all()
    np.testing.assert_array_equal(net.predict(whole.images, verbose=0).argmax(1) != y, whole.success)


@pytest.mark.parametrize("classes", [2, *(pytest.param(k, marks=pytest.mark.slow) for k in (3, 4))])
def test_few_classes_are_handled(classes, digits):
    keras.utils.set_random_seed(0)
    kept = digits.train[1] < classes
    x, y = digits.train[0][kept], digits.train[1][kept]
    model = keras.Sequential([keras.Input(digits.shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=5, verbose=0)
    one = registry.parse("attack", "autoattack(threat=linf(eps=0.3), steps=3, queries=10)")
    assert np.asarray(one(model, x[:10], y[:10]).success).mean() > 0.9
    assert [part.name for part in one.parts(classes)] == ["apgd", "apgd", "fab", "square"]
    assert all(part.min_classes <= classes for part in one.parts(classes))


def test_parts_are_chosen_by_the_number_of_classes():
    one = registry.parse("attack", "autoattack(threat=linf(eps=0.3))")
    for classes in (2, 3, 4, 10):
        parts = one.parts(classes)
        assert [part.name for part in parts] == ["apgd", "apgd", "fab", "square"]
        assert all(part.min_classes <= classes for part in parts)


def test_versions():
    standard, plus, rand = (
        registry.parse("attack", f"autoattack(version={v!r})").parts(10) for v in ("standard", "plus", "rand")
    )
    assert [p.name for p in standard] == ["apgd", "apgd", "fab", "square"]
    assert standard[1].targets == standard[2].targets == 9 and standard[1].loss.name == "dlr"
    l1 = registry.parse("attack", "autoattack(threat=l1(eps=12))").parts(10)
    assert [p.name for p in l1] == ["apgd", "apgd", "fab", "square"]
    assert (l1[0].restarts, l1[1].targets, l1[2].targets, l1[3].steps) == (5, 5, 9, 5000)
    assert [p.name for p in plus] == ["apgd", "apgd", "fab", "square", "apgd", "fab"]
    assert [p.restarts for p in plus[:3]] == [5, 5, 5]
    assert [(p.loss.name, p.eot) for p in rand] == [("cross_entropy", 20), ("dlr", 20)]


@pytest.mark.slow
def test_worst_gives_its_threat_to_all(net, digits):
    x, y = digits.test[0][:40], digits.test[1][:40]
    spec = "worst(threat=linf(eps=0.05), attacks=(pgd(), deepfool(threat=linf()), fgsm()))"
    assert registry.spec(registry.parse("attack", spec)) == registry.spec(
        registry.parse("attack", registry.spec(registry.parse("attack", spec)))
    )
    result = attack(net, x, y, spec)
    assert (result.distance <= 0.05 + 1e-6).all() and len(result.parts) == 3
    with pytest.raises(InvalidInput, match="threat"):
        attack(net, x, y, "worst(threat=l1(eps=1), attacks=(deepfool(),))")


def test_ensembles_inside_worst_are_their_parts():
    nested = registry.parse("attack", "worst(threat=l2(eps=1), attacks=(autoattack(), pgd(), pgd()))")
    assert [p.name for p in nested.parts(10)] == ["apgd", "apgd", "fab", "square", "pgd", "pgd"]
    assert all(p.threat.name == "l2" for p in nested.parts(10))
    with pytest.raises(InvalidInput, match="guide"):
        registry.parse("attack", "worst(attacks=(feature_adversary(),))")


def test_equal_parts_are_counted_apart(net, digits):
    x, y = digits.test[0][:20], digits.test[1][:20]
    assert len(attack(net, x, y, "worst(attacks=(fgsm(), fgsm()))").parts) == 2
