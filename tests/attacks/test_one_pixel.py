"""One-pixel attack: counts of pixels, early stop, and all single pixels tried as oracle."""

import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, attack, registry
from keras_adv.attacks.one_pixel import paint

QUICK = "one_pixel(threat=l0(eps=1), steps=25, population=60)"


def test_paint_sets_whole_pixels():
    x = np.zeros((4, 5, 2), "float32")
    made = paint(x, np.array([[3.9, 4.9, 0.25, 0.5], [4.0, 5.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(made[:, 3, 4], [[0.25, 0.5], [1.0, 0.0]])
    assert (made != 0).sum() == 3


def test_finds_what_trying_every_pixel_finds(linear, grey):
    model, w, b = linear
    x, y = grey
    flat = x.reshape(len(x), -1)
    breakable = []
    for i in range(len(x)):
        z = flat[i] @ w + b
        ends = np.stack([(v - flat[i])[:, None] * w for v in (0.0, 1.0)]) + z  # (2, pixels, classes)
        breakable.append((ends.argmax(-1) != y[i]).any())
    found = attack(model, x, y, QUICK)
    assert 3 <= sum(breakable) < len(x)
    assert not (found.success & ~np.array(breakable)).any()
    assert found.success.sum() >= 0.9 * sum(breakable)


def test_eps_is_the_number_of_pixels_of_each_image(linear, grey):
    x, y = (v[:3] for v in grey)
    found = attack(linear[0], x, y, QUICK, eps=np.array([0.0, 2.0, 5.0], "float32"))
    changed = (found.images != x).any(axis=3).sum(axis=(1, 2))
    assert changed[0] == 0 and changed[1] <= 2 and changed[2] <= 5
    np.testing.assert_array_equal(changed, found.distance)


def test_ends_with_the_first_generation_that_fools():
    x, y = np.full((2, 8, 8, 1), 0.5, "float32"), np.zeros(2, "int32")

    def logits(v):  # any pixel above 0.9 will do
        z = ops.max(v, axis=(1, 2, 3)) - 0.9
        return ops.stack([-z, z], axis=1)

    found = registry.parse("attack", QUICK)(logits, x, y)
    assert np.asarray(found.success).all()
    assert (np.asarray(found.rounds) == 1).all()


def test_a_target_is_reached_or_it_fails(linear, grey):
    x, y = (v[:8] for v in grey)
    targets = (y + 1) % 5
    found = attack(linear[0], x, y, QUICK, eps=12, targets=targets)
    reached = linear[0].predict(found.images, verbose=0).argmax(1) == targets
    np.testing.assert_array_equal(found.success, reached)
    assert reached.any()


def test_values_instead_of_pixels_are_refused():
    with pytest.raises(InvalidInput, match="whole pixels"):
        registry.parse("attack", "one_pixel(threat=l0(eps=1, pixels=False))")
