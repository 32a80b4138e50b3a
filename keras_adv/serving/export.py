"""SavedModel for serving, with named endpoints, loadable where keras_adv is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras

from keras_adv import validate
from keras_adv.artifact import read
from keras_adv.classifier import check_model
from keras_adv.validate import InvalidInput


def export(model: keras.Model | str | Path, out: str | Path) -> Path:
    """Writes a TensorFlow SavedModel.

    Signatures, any batch size: `serving_default`: images float32 (B, H, W, C) in [0, 1] -> logits (B, K),
    probabilities (B, K), label (B,) int64; `features`: images -> features (B, D), for models with a layer
    "features".

    Args:
        model: a Keras model with logits, or a .keras file.
        out: folder to write; replaced if it holds a SavedModel.

    Raises:
        InvalidInput: unusable model, or `out` holds something else.
    """
    out = Path(out)
    if isinstance(model, (str, Path)):
        model = read(Path(model))
    check_model(model)
    validate.make_writable(out.parent)
    if out.is_file():
        raise validate.invalid("out", "a folder", str(out))
    if out.exists() and not (out / "saved_model.pb").is_file() and any(out.iterdir()):
        raise InvalidInput(f"`out` must be new, empty or a SavedModel. Received: {str(out)!r}")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    if keras.config.backend() == "tensorflow":
        _write(model, part)
    else:
        _in_tensorflow(model, part)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(part, out)
    return out


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

    def serve(images: Any) -> dict[str, Any]:
        logits = tf.cast(model(images, training=False), tf.float32)
        return {
            "logits": logits,
            "probabilities": tf.nn.softmax(logits),
            "label": tf.argmax(logits, axis=1),
        }

    archive.add_endpoint("serving_default", serve, signature)
    if any(layer.name == "features" for layer in model.layers):
        inner = keras.Model(model.inputs, model.get_layer("features").output)
        archive.track(inner)

        def features(images: Any) -> dict[str, Any]:
            return {"features": tf.cast(inner(images, training=False), tf.float32)}

        archive.add_endpoint("features", features, signature)
    archive.write_out(str(out), verbose=False)


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2])
