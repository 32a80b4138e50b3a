"""The order of the images, their crops, and that a graph makes the same of them."""

import keras
import numpy as np
import pytest

from keras_adv.backend import in_graph
from keras_adv.batches import Batches, in_bytes
from keras_adv.data.augmenting import GREY, draw, on_host


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own(digits):
    batches = Batches(digits.train, 431, seed=1)
    assert len(batches) == 3
    orders = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        orders.append(np.concatenate([batches[i][0] for i in range(3)]))
    assert sorted(i.tobytes() for i in orders[0]) == sorted(i.tobytes() for i in digits.train[0])
    np.testing.assert_array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[1])


def test_crop_flip_moves_whole_images():
    x = np.zeros((64, 8, 8, 1), "float32")
    x[:, 3, 5] = 1
    out = on_host(x, draw("crop_flip", 64, (0,)))
    assert out.shape == x.shape and set(np.unique(out)) <= {0.0, 1.0}
    assert (out.sum((1, 2, 3)) <= 1).all() and out.sum() > 40
    assert len({o.tobytes() for o in out}) > 20


def test_cutout_greys_a_square_of_half_the_side_about_any_pixel_and_moves_no_other():
    drawn = draw("crop_flip_cutout", 200, (0,))
    plain = {name: drawn[name] for name in ("top", "left", "flip")}
    x = np.random.default_rng(0).random((200, 8, 12, 2), "float32")
    out, moved = on_host(x, drawn), on_host(x, plain)
    cut = (out == GREY).all(-1)
    np.testing.assert_array_equal(np.where(cut[..., None], moved, out), moved)
    sides = {*zip(cut.any(2).sum(1).tolist(), cut.any(1).sum(1).tolist(), strict=True)}
    assert {(4, 6), (2, 6), (4, 3)} <= sides  # whole, and cut off by an edge
    assert (cut.sum((1, 2)) == cut.any(2).sum(1) * cut.any(1).sum(1)).all()  # a rectangle
    assert cut.any(0).all()
    for name, part in draw("crop_flip", 200, (0,)).items():
        np.testing.assert_array_equal(part, plain[name])


def test_crops_of_two_pixels_mirror_only_where_they_say_so():
    x = np.arange(2, 66, dtype="float32").reshape(1, 8, 8, 1) / 99
    for augment, mirrored in (("crop2", False), ("crop2_flip", True)):
        drawn = draw(augment, 300, (0,))
        assert drawn["flip"].any() == mirrored
        wide = np.pad(x[0], ((2, 2), (2, 2), (0, 0)))
        whole = [wide[i : i + 8, j : j + 8] for i in range(5) for j in range(5)]
        allowed = {one.tobytes() for one in (*whole, *((one[:, ::-1] for one in whole) if mirrored else ()))}
        assert {one.tobytes() for one in on_host(np.repeat(x, 300, 0), drawn)} == allowed


def test_images_of_whole_numbers_are_kept_in_bytes_and_no_others():
    whole = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3)).astype("uint8")
    kept = in_bytes(whole.astype("float32") / 255)
    assert kept.dtype == np.uint8 and np.array_equal(kept, whole)
    other = np.random.default_rng(0).random((5, 4, 4, 3)).astype("float32")
    assert in_bytes(other) is other


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX takes the arrays")
@pytest.mark.parametrize("augment", ["none", "crop_flip", "crop_flip_cutout", "crop2"])
@pytest.mark.parametrize("bytes_", [True, False])
def test_the_graph_makes_the_same_batches_in_every_epoch(augment, bytes_):
    rng = np.random.default_rng(0)
    x = (
        rng.integers(0, 256, (50, 6, 7, 3)).astype("float32") / np.float32(255)
        if bytes_
        else rng.random((50, 6, 7, 3))
    )
    x, y = x.astype("float32"), (np.arange(50) % 3).astype("int32")
    weights = rng.random(50).astype("float32")
    twice = lambda rows, draw: np.concatenate([rows, draw.permutation(rows)])  # noqa: E731
    batches = Batches((x, y), 8, 3, augment, twice, weights, steps=5)
    kept = in_bytes(x)
    assert (kept.dtype == np.uint8) == bytes_
    graph = in_graph(batches, kept)
    seen = []
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        made = [[np.asarray(part) for part in batch] for batch in graph]
        assert len(made) == 5
        for number, parts in enumerate(made):
            for ours, theirs in zip(parts, batches[number], strict=True):
                np.testing.assert_array_equal(ours, theirs)
        seen.append(made[0][0])
    assert (seen[0] != seen[1]).any()
