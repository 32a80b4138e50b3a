import numpy as np
import pytest

from keras_adv.batches import Batches
from keras_adv.defenses import MAD
from keras_adv.defenses.pairs import Partners


def drawn(y, same, repeats=1):
    """(repeats, N) partners of all images."""
    rows, draw = np.arange(len(y)), Partners(y, same)
    pairs = [draw(rows, np.random.default_rng(k)).reshape(-1, 2) for k in range(repeats)]
    assert all((pair[:, 0] == rows).all() for pair in pairs)
    return np.stack([pair[:, 1] for pair in pairs])


@pytest.mark.parametrize("same", [0.0, 0.3, 1.0])
def test_partners_are_of_the_kind_drawn_and_every_other_image_can_be_one(same):
    y = np.random.default_rng(0).permutation([0, 0, 0, 1, 1, 2, 2, 2, 2, 7, 7, 7] * 3)
    index = drawn(y, same, repeats=60)
    assert (index != np.arange(len(y))).all()
    assert (y[index] == y).mean() == pytest.approx(same, abs=0.04)
    if same == 0.0:  # the class is uniform, whatever its size
        shares = [(y[index[:, y == 0]] == c).mean() for c in (1, 2, 7)]
        np.testing.assert_allclose(shares, 1 / 3, atol=0.06)
    if same == 1.0:
        one = np.flatnonzero(y == 1)[0]
        counts = np.bincount(index[:, one], minlength=len(y))
        assert set(np.flatnonzero(counts)) == set(np.flatnonzero(y == 1)) - {one}


@pytest.mark.parametrize(
    ("labels", "same", "want"),
    [([4, 4, 4], 0.0, {0, 1, 2}), ([1, 2, 3], 1.0, {0, 1, 2}), ([5], 0.5, {0}), ([5], 0.0, {0})],
)
def test_where_a_kind_is_not_there_it_is_the_other_and_alone_the_image_itself(labels, same, want):
    index = drawn(np.array(labels), same, repeats=20)
    assert set(index.ravel()) == want
    assert len(labels) == 1 or (index != np.arange(len(labels))).all()


def test_a_step_sees_each_image_and_its_partner_each_augmented_for_itself(digits):
    _, y = digits.train
    x = np.zeros((len(y), 8, 8, 1), "float32")
    x[:, 3, 5, 0] = 1 + np.arange(len(y))  # an image tells its row
    rows = MAD(same=0.5).batch_rows(y)
    plain = Batches((x, y), 100, seed=3, rows=rows)
    assert len(plain) == len(y) // 100
    seen, labels = plain[2]
    found = seen.max((1, 2, 3)).astype(int) - 1
    alone = Batches((x, y), 100, seed=3)  # the same order without partners
    np.testing.assert_array_equal(found[::2], alone.plan.rows[2])
    np.testing.assert_array_equal(labels, y[found])
    assert len(set(found[1::2]) - set(found[::2])) > 70  # out of the whole set, not of the batch
    assert (labels[::2] == labels[1::2]).mean() == pytest.approx(0.5, abs=0.2)
    np.testing.assert_array_equal(plain[2][0], seen)  # a resumed run sees the same
    assert not np.array_equal(plain[1][0], seen)
    moved = Batches((x, y), 100, seed=3, augment="crop_flip", rows=rows)[2][0]
    places = moved.reshape(200, -1).argmax(1)
    assert len(set(places[::2])) > 20 and (places[::2] != places[1::2]).mean() > 0.9
