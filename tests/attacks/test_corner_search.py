"""CornerSearch: single corners against all of them, the rankings, the draw of sets, and the end."""

import numpy as np
import pytest
from closed_forms import task_of
from keras import ops

from keras_adv import InvalidInput, attack, registry
from keras_adv.attacks.corner_search import ranks, with_corners
from keras_adv.backend import compile


def make(spec):
    return registry.parse("attack", spec)


def corner(x, change):
    """x (H, W, C) with one change, by its number."""
    made, channels = x.copy(), x.shape[2]
    pixel, bits = divmod(change, 2**channels)
    made.reshape(-1, channels)[pixel] = [bits >> c & 1 for c in range(channels)]
    return made


def test_changes_are_made_one_after_the_other():
    rng = np.random.default_rng(0)
    x = rng.random((5, 2, 3, 3)).astype("float32")
    changes = rng.integers(0, 6 * 8, size=(5, 7)).astype("int32")  # 7 of 6 pixels: some change twice
    made = np.asarray(with_corners(ops.convert_to_tensor(x), ops.convert_to_tensor(changes)))
    for i in range(5):
        image = x[i]
        for change in changes[i]:
            image = corner(image, change)
        np.testing.assert_array_equal(made[i], image)


def test_ranks_are_drawn_as_in_the_paper():
    count, many = 10, 1000
    drawn = ops.convert_to_tensor((np.arange(100 * many) + 0.5) / (100 * many), "float32")
    seen = np.bincount(np.asarray(ranks(drawn, count)), minlength=count)
    np.testing.assert_allclose(seen, many * (2 * (count - np.arange(count)) - 1), atol=2)


def test_the_rankings_are_those_of_every_single_change():
    """On a linear model of 3 classes, for images of two pixels in colour: 16 changes."""
    rng = np.random.default_rng(1)
    x, w = rng.random((3, 1, 2, 3)).astype("float32"), rng.normal(size=(6, 3)).astype("float32")
    y, bias = np.array([0, 1, 2]), 100 * np.eye(3)  # nothing fools

    def logits(v):
        return ops.reshape(v, (-1, 6)) @ w + ops.convert_to_tensor(bias[y], "float32")

    one, task = make("corner_search(candidates=10, tries=1, most=2)"), task_of(logits, x, y)
    state = one.begin(task)
    for k in range(16):
        state = {**one.step(task, {**state, "k": state["k"] * 0 + k})[0], "k": state["k"]}
    for i in range(3):
        z = np.stack([corner(x[i], change).ravel() @ w + bias[y[i]] for change in range(16)])
        lead = z - z[:, [y[i]]]
        lead[:, y[i]] = np.delete(lead, y[i], axis=1).max(1)
        order = np.argsort(-lead, axis=0, kind="stable")[:10]
        np.testing.assert_array_equal(state["changes"][i], order.T)
        np.testing.assert_allclose(state["worth"][i], np.take_along_axis(lead, order, 0).T, atol=1e-4)
    after = one.step(task, {**state, "k": state["k"] * 0 + 16})[0]  # sets do not enter the rankings
    np.testing.assert_array_equal(after["changes"], state["changes"])


def test_one_pixel_is_enough_exactly_where_one_of_all_corners_fools(linear, grey):
    model, w, b = linear
    x, y = grey
    flat = x.reshape(len(x), -1)
    z = flat @ w + b
    ends = np.stack([z[:, None] + (v - flat)[:, :, None] * w for v in (0.0, 1.0)])  # (2, B, pixels, classes)
    breakable = (ends.argmax(-1) != y[:, None]).any((0, 2))
    found = attack(model, x, y, "corner_search(steps=500, tries=20)")
    assert 3 <= breakable.sum() < len(x)
    np.testing.assert_array_equal(found.distance == 1, breakable)
    assert found.success.mean() > 0.9 and (found.passes[~breakable] > 128).all()


def test_two_pixels_are_found_together_and_the_search_ends_at_the_last_set():
    def logits(v):  # both of two pixels must be at 1; each alone helps
        z = ops.reshape(v, (-1, 9))
        gain = ops.minimum(z[:, 2] + z[:, 7], 2.0) - 1.9
        return ops.stack([-gain, gain], axis=1)

    x, y = np.full((2, 3, 3, 1), 0.3, "float32"), np.zeros(2, "int32")
    one = make("corner_search(candidates=4, tries=40)")
    found = compile(lambda *batch: one(logits, *batch))(x, y)
    assert np.asarray(found.success).all() and (np.asarray(found.distance) == 2).all()
    assert (np.asarray(found.rounds) > 18).all()

    short = make("corner_search(candidates=4, tries=3, most=3)")
    never = compile(lambda *batch: short(lambda v: 0.01 * logits(v) + np.float32([1, 0]), *batch))(x, y)
    assert not np.asarray(never.success).any()
    np.testing.assert_array_equal(never.rounds, 2 * 9 + 2 * 2 * 3)  # corners; sizes, rankings, tries


def test_values_instead_of_pixels_are_refused():
    with pytest.raises(InvalidInput, match="whole pixels"):
        make("corner_search(threat=l0(pixels=False))")
