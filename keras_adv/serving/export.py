"""Files for serving, loadable where keras_adv is not installed: a SavedModel, or ONNX."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras

from keras_adv import files, validate
from keras_adv.artifact import read
from keras_adv.classifier import check_model
from keras_adv.serving import signatures

ONNX = ".onnx"
"""How the name of an ONNX file ends."""

PARTS = ("assets", "fingerprint.pb", "saved_model.pb", "variables")
"""What a SavedModel consists of."""


def export(model: keras.Model | str | Path, out: str | Path) -> Path:
    """Writes a TensorFlow SavedModel, or where `out` ends in .onnx an ONNX file.

    Signatures of the SavedModel, any batch size: `serving_default`: images float32 (B, H, W, C) in [0, 1] ->
    logits (B, K), probabilities (B, K), label (B,) int64; `uint8`: images of 0 to 255, and `encoded`, for
    images of one or three channels: (B,) bytes of JPEG or PNG files, resized where they have another size, to
    the same; `features`: images -> features (B, D), for models that have any (`keras_adv.features`). The ONNX
    file takes images and gives the same three answers as `serving_default`.

    Args:
        model: a Keras model with logits, or a .keras file.
        out: folder to write, replaced as a whole if it is a SavedModel; or FILE.onnx, which is replaced.

    Raises:
        InvalidInput: unusable model, `out` holds something else, or another call writes it; for ONNX also
            where tf2onnx is not installed.
    """
    out = Path(out)
    if isinstance(model, (str, Path)):
        model = read(Path(model))
    check_model(model)
    if out.suffix == ONNX:
        signatures.check_onnx()
    validate.make_writable(out.parent)
    _check_replaceable(out)
    beside = out.with_name(f".export-{out.name}")
    beside.mkdir(exist_ok=True)
    with files.sole_use(beside):
        part, old = beside / f"part{out.suffix if out.suffix == ONNX else ''}", beside / out.name
        for leftover in (part, old):  # of a call that was killed
            _remove(leftover)
        if keras.config.backend() == "tensorflow":
            _write(model, part)
        else:
            _in_tensorflow(model, part)
        if out.exists():
            os.replace(out, old)
        os.replace(part, out)
        _remove(old)
    files.remove(beside, re.compile(re.escape(files.LOCK)))
    return out


def _check_replaceable(out: Path) -> None:
    """Raises InvalidInput unless `out` is new, empty, or a SavedModel with nothing beside it; or an ONNX
    file."""
    if out.suffix == ONNX and not out.is_dir():
        return
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


def _remove(path: Path) -> None:
    if path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


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
    if out.suffix == ONNX:
        signatures.write_onnx(model, out)
    else:
        signatures.write_saved_model(model, out)


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2])
