"""What is kept of each image, and two models on the same images."""

import numpy as np
import pytest

from keras_adv import InvalidInput, attack, evaluate
from keras_adv.evaluation import records

ATTACKS = ["pgd(threat=linf(eps=0.1), steps=5)", "square(threat=linf(eps=0.1), steps=30)", "ddn(steps=10)"]


@pytest.fixture(scope="module")
def kept(net, digits, tmp_path_factory):
    file = tmp_path_factory.mktemp("records") / "records.npz"
    x, y = digits.test[0][:60], digits.test[1][:60]
    return evaluate(net, x, y, ATTACKS, records=file), records.load(file), (x, y)


def test_every_image_has_its_row(kept, net):
    results, found, (x, y) = kept
    np.testing.assert_array_equal(found["label"], y)
    np.testing.assert_array_equal(found["prediction"], net.predict(x, verbose=0).argmax(1))
    assert found["spec"].tolist() == [row["spec"] for row in results["attacks"]]
    direct = attack(net, x, y, ATTACKS[0])
    np.testing.assert_array_equal(found["0_success"], direct.success)
    np.testing.assert_array_equal(found["0_prediction"], net.predict(direct.images, verbose=0).argmax(1))
    np.testing.assert_allclose(found["0_norm"], direct.distance, rtol=1e-5)
    for k, row in enumerate(results["attacks"]):
        passes = found[f"{k}_passes"] + found[f"{k}_forward_passes"]
        assert passes.mean() == pytest.approx(row["gradients_per_image"])
        if row["robust_accuracy"] is not None:
            assert found[f"{k}_held"].mean() == pytest.approx(row["robust_accuracy"])
    assert not found["1_passes"].any() and not found["0_forward_passes"].any()  # Square sees scores alone


def test_the_worst_case_counts_an_image_that_one_attack_breaks(kept):
    results, found, _ = kept
    (worst,) = results["worst"]  # DDN's threat has no radius
    assert worst["threat"] == "linf(eps=0.1)" and len(worst["attacks"]) == 2
    assert worst["robust_accuracy"] == pytest.approx((found["0_held"] & found["1_held"]).mean())


def test_a_net_against_itself_differs_in_nothing(kept):
    _, found, _ = kept
    rows = records.compare(found, found)
    assert [row["spec"] for row in rows] == ["clean", *found["spec"][:2]]  # DDN's threat has no radius
    for row in rows:
        assert row["difference"] == row["only_first"] == row["only_second"] == 0
        assert row["interval"][0] == -row["interval"][1] < 0


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered, true = [], (0.7 * 0.95 + 0.3 * 0.05) - (0.7 * 0.9 + 0.3 * 0.1)
    for _ in range(400):
        common = rng.random(200) < 0.7
        a, b = (common ^ (rng.random(200) < share) for share in (0.05, 0.1))
        low, high = records._difference(a, b)["interval"]
        covered.append(low <= true <= high)
    assert 0.92 < np.mean(covered) < 0.985


def test_other_images_are_not_compared(kept, tmp_path):
    _, found, _ = kept
    with pytest.raises(InvalidInput, match="`records` must be those of the same label"):
        records.compare(found, {**found, "label": found["label"][::-1]})
    with pytest.raises(InvalidInput, match="`records` must be those of the same images"):
        records.compare(found, {**found, "images": np.array("others")})


def test_a_damaged_file_is_refused(kept, net, tmp_path):
    _, _, (x, y) = kept
    file = tmp_path / "records.npz"
    evaluate(net, x[:5], y[:5], "fgsm()", records=file)
    whole = file.read_bytes()
    np.save(tmp_path / "other.npy", x[:2])
    array = (tmp_path / "other.npy").read_bytes()
    for content in (b"PK", whole[:-30], whole[:200] + b"x" * 50 + whole[250:], array):
        file.write_bytes(content)
        with pytest.raises(InvalidInput, match="`records` must be"):
            records.load(file)


def test_records_that_cannot_be_written_are_refused_before_anything_is_attacked(kept, net, tmp_path):
    _, _, images = kept
    (tmp_path / "file").write_text("")
    for place in (tmp_path, tmp_path / "file" / "records.npz", 3):
        with pytest.raises(InvalidInput, match="`records` must be"):
            evaluate(net, *images, ["no_attack()"][:0], records=place)
