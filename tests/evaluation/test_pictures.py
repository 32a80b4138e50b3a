"""Pictures of a run."""

import numpy as np
import pytest

from keras_adv.evaluation import pictures


def kept(x, y, shown):
    """Records as of an attack that inverts images, and fools the net on those that are shown."""
    n, share = len(x), np.full(len(x), 0.9, "float32")
    pixels = np.round(255 * x[shown]).astype("uint8")
    made = {"0_shown": np.array(shown, int), "0_before": pixels, "0_after": 255 - pixels}
    made |= {"0_prediction": (y + 1) % 10, "0_confidence": share, "0_norm": np.ones(n, "float32")}
    return {"label": y, "confidence": share, "spec": np.array(["fgsm()"]), **made}


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pictures_are_drawn(channels, digits, tmp_path):
    x, y = np.repeat(digits.test[0][:4], channels, axis=-1), digits.test[1][:4]
    pictures.examples(kept(x, y, [0, 2, 3]), tmp_path / "a.png", n=2)
    rows = [{"epoch": 0, "loss": 1.0, "val_accuracy": 0.5}, {"epoch": 1, "loss": 0.5}]
    pictures.curves(rows, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("spec", [["fgsm()"], []])
def test_a_run_that_broke_nothing_has_a_picture_too(spec, digits, tmp_path):
    x, y = digits.test[0][:4], digits.test[1][:4]
    pictures.examples({**kept(x, y, []), "spec": np.array(spec)}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
