"""Parts of an evaluation, put together."""

import numpy as np
import pytest
from sampled import sampled

import keras_adv
from keras_adv import InvalidInput
from keras_adv.evaluation.plan import shard_rows

ATTACKS = [
    "pgd(threat=linf(eps=0.1), steps=5, restarts=2)",
    "ddn(steps=10)",
    "worst(threat=linf(eps=0.08), attacks=(fgsm(), square(steps=50)))",
]


@pytest.fixture
def images(digits):
    return digits.test[0][:90], digits.test[1][:90]


def timeless(found):
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in found["attacks"]]
    return {**found, "attacks": rows}


WAYS = [(ATTACKS, None), (("pgd(steps=5)", "feature_adversary(steps=5)"), "random")]


@pytest.mark.parametrize(("attacks", "targets"), sampled(WAYS, WAYS[0]))
def test_four_shards_are_the_whole(attacks, targets, net, images, tmp_path):
    options = {"targets": targets, "batch_size": 32, "seed": 3}
    whole = keras_adv.evaluate(net, *images, attacks, **options)
    parts = [
        keras_adv.evaluate(net, *images, attacks, shard=f"{k}/4", resume=tmp_path, **options)
        for k in (3, 1, 4, 2)
    ]
    merged = keras_adv.evaluate(net, *images, attacks, merge=True, resume=tmp_path, **options)
    ours, theirs = timeless(merged), timeless(whole)
    for one, other in zip(ours.pop("attacks"), theirs.pop("attacks"), strict=True):
        for name in ("mean_norm", "median_norm", "mean_ratio"):  # rounding, in batches of another size
            assert one.pop(name) == pytest.approx(other.pop(name), rel=1e-5)
        assert one == other
    assert ours == theirs
    assert [part["n"] for part in parts] == [22, 23, 22, 23]
    for name in ("clean_accuracy", "robust_accuracy"):
        get = lambda r, name=name: r.get(name, r["attacks"][0].get(name))  # noqa: E731
        assert sum(get(part) * part["n"] for part in parts) == pytest.approx(get(whole) * 90)


def test_before_all_shards_have_ended_nothing_is_put_together(net, images, tmp_path):
    for k in (1, 3):
        keras_adv.evaluate(net, *images, ATTACKS[:1], shard=f"{k}/3", resume=tmp_path)
    with pytest.raises(InvalidInput, match=r"`resume` must be .* images without a result of pgd"):
        keras_adv.evaluate(net, *images, ATTACKS[:1], merge=True, resume=tmp_path)


def test_every_image_is_in_one_shard():
    rows = [shard_rows(f"{k}/4", 11) for k in (1, 2, 3, 4)]
    np.testing.assert_array_equal(np.sum(rows, axis=0), np.ones(11))
    assert shard_rows(None, 5).all()


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1/91", "2", "a/b", "1/0", (1, 2)])
def test_a_shard_that_is_not_there(shard, net, images, tmp_path):
    with pytest.raises(InvalidInput, match="`shard` must be of the form 2/8"):
        keras_adv.evaluate(net, *images, "fgsm()", shard=shard, resume=tmp_path)


@pytest.mark.parametrize("options", [{"shard": "1/2"}, {"merge": True}])
def test_both_need_a_folder(options, net, images):
    with pytest.raises(InvalidInput, match="`resume` must be a folder"):
        keras_adv.evaluate(net, *images, "fgsm()", **options)
