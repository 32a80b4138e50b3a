"""SavedModel for serving, with named endpoints, loadable where keras_adv is not installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras

from keras_adv import files, validate
from keras_adv.arrays import flatten
from keras_adv.artifact import read
from keras_adv.classifier import check_model
from keras_adv.features import has_features, with_features

PARTS = ("assets", "fingerprint.pb", "saved_model.pb", "variables")
"""What a SavedModel consists of."""


def export(model: keras.Model | str | Path, out: str | Path) -> Path:
    """Writes a TensorFlow SavedModel.

    Signatures, any batch size: `serving_default`: images float32 (B, H, W, C) in [0, 1] -> logits (B, K),
    probabilities (B, K), label (B,) int64; `features`: images -> features (B, D), for models that have any
    (`keras_adv.features`).

    Args:
        model: a Keras model with logits, or a .keras file.
        out: folder to write; replaced as a whole if it is a SavedModel.

    Raises:
        InvalidInput: unusable model, `out` holds something else, or another call writes it.
    """
    out = Path(out)
    if isinstance(model, (str, Path)):
        model = read(Path(model))
    check_model(model)
    validate.make_writable(out.parent)
    _check_replaceable(out)
    beside = out.with_name(f".export-{out.name}")
    beside.mkdir(exist_ok=True)
    with files.sole_use(beside):
        part, old = beside / "part", beside / out.name
        for leftover in (part, old):  # of a call that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        if keras.config.backend() == "tensorflow":
            _write(model, part)
        else:
            _in_tensorflow(model, part)
        if out.exists():
            os.replace(out, old)
        os.replace(part, out)
        shutil.rmtree(old, ignore_errors=True)
    files.remove(beside, re.compile(re.escape(files.LOCK)))
    return out


def _check_replaceable(out: Path) -> None:
    """Raises InvalidInput unless `out` is new, empty, or a SavedModel with nothing beside it."""
    if out.is_file():
        raise validate.invalid("out", "a folder", str(out))
    holds = sorted(p.name for p in out.iterdir()) if out.exists() else []
    foreign = [name for name in holds if name not in PARTS]
    if foreign or (holds and "saved_model.pb" not in holds):
        raise validate.unusable(
            "out",
            "new, empty or a SavedModel with nothing else",
            f"{out}, which holds {(foreign or holds)[:3]}",
        )


def _in_tensorflow(model: keras.Model, out: Path) -> None:
    """Export needs TensorFlow: another backend hands a file to a process that runs it."""
    path = out.with_suffix(".keras")
    model.save(path)
    command = [sys.executable, "-m", "keras_adv.serving.export", str(path), str(out)]
    env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    path.unlink()
    if done.returncode:
        raise RuntimeError(f"Export in a TensorFlow process failed:\n{done.stderr[-2000:]}")


def _write(model: keras.Model, out: Path) -> None:
    import tensorflow as tf

    shape, _ = check_model(model)
    signature = [tf.TensorSpec((None, *shape), tf.float32, name="images")]
    archive = keras.export.ExportArchive()
    archive.track(model)

    def checked(images: Any) -> Any:
        """A signature alone does not keep out other widths, nor NaN."""
        return tf.debugging.check_numerics(tf.ensure_shape(images, (None, *shape)), "images must be finite")

    def serve(images: Any) -> dict[str, Any]:
        logits = tf.cast(model(checked(images), training=False), tf.float32)
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "label": tf.argmax(logits, axis=1),
        }

    archive.add_endpoint("serving_default", serve, signature)
    if has_features(model):

        def features(images: Any) -> dict[str, Any]:
            found, _ = with_features(model, lambda: model(checked(images), training=False))
            return {"features": tf.cast(flatten(found), tf.float32)}

        archive.add_endpoint("features", features, signature)
    archive.write_out(str(out), verbose=False)


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2])
