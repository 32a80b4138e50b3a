"""Pictures of a run."""

import numpy as np
import pytest

from keras_adv.evaluation import Result, pictures


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pictures_are_drawn(channels, digits, tmp_path):
    x, y = np.repeat(digits.test[0][:4], channels, axis=-1), digits.test[1][:4]
    yes = np.ones(4, bool)
    made = Result(
        1.0 - x, yes, yes, np.ones(4, "float32"), np.ones(4, "int64"), np.zeros(4, "int64"), 0.0, {}
    )
    pictures.examples(x, made, y, "title", tmp_path / "a.png", n=2)
    rows = [{"epoch": 0, "loss": 1.0, "val_accuracy": 0.5}, {"epoch": 1, "loss": 0.5}]
    pictures.curves(rows, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_a_run_that_broke_nothing_has_a_picture_too(digits, tmp_path):
    x, no = digits.test[0][:4], np.zeros(4, bool)
    made = Result(x, ~no, no, np.zeros(4, "float32"), np.ones(4, "int64"), np.zeros(4, "int64"), 0.0, {})
    pictures.examples(x, made, digits.test[1][:4], "title", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
