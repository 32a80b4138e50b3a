"""What a study shows: its images are what they are said to be, on the screen too."""

import numpy as np
import pytest

from keras_adv import InvalidInput
from keras_adv.attacks import FGSM, PGD
from keras_adv.study import gathering
from keras_adv.threats import Linf


def test_no_image_is_shown_twice_and_every_one_can_be(digits):
    parts = gathering.shares(100, 11, 3, seed=4)
    assert sorted(np.concatenate(parts)) == list(range(100)) and len(parts[0]) == 11
    assert {len(part) for part in parts[1:]} <= {29, 30}
    again = gathering.shares(100, 11, 3, seed=4)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert (gathering.shares(100, 11, 3, seed=5)[0] != parts[0]).any()


def test_what_is_shown_fools_the_model_as_it_is_shown(net, digits):
    x, y = digits.test
    rows = np.arange(40, 80)
    shown, counts = gathering.attacked(net, x, y, rows, FGSM(threat=Linf(eps=0.15)), n=8)
    seen = net.predict(shown.pixels / np.float32(255), verbose=0)
    assert len(shown.rows) == 8 and set(shown.rows) <= set(rows)
    np.testing.assert_array_equal(seen.argmax(1), shown.adversarial)
    np.testing.assert_array_equal(y[shown.rows], shown.labels)
    assert (shown.adversarial != shown.labels).all()
    clean = net.predict(x[shown.rows], verbose=0).argmax(1)
    np.testing.assert_array_equal(clean, shown.labels)
    change = shown.pixels / 255 - x[shown.rows]
    assert np.abs(change).max() <= 0.15 + 1 / 255
    np.testing.assert_allclose(shown.norm, np.sqrt((change**2).sum((1, 2, 3))), rtol=1e-5)
    why = counts["misclassified"] + counts["not_fooled"] + counts["lost_in_rounding"]
    assert counts["looked"] == 8 + why == np.flatnonzero(rows == shown.rows[-1])[0] + 1


def test_a_mistake_that_no_screen_can_show_is_not_shown(net, digits):
    x, y = digits.test
    small = PGD(threat=Linf(eps=0.4 / 255), steps=2)  # no pixel moves by half a level: digits have 17 of them
    levels = np.round(x[:60] * 255).astype("float32") / 255
    shown = gathering.as_shown(levels)
    np.testing.assert_array_equal(shown, np.round(levels * 255))
    with pytest.raises(InvalidInput, match="`attack` must be one that fools the model on some image"):
        gathering.attacked(net, levels, y, np.arange(60), small, n=60)
