"""Files for serving, loadable where keras_adv is not installed: a SavedModel, ONNX, LiteRT or OpenVINO."""

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
from keras_adv.serving import warmup
from keras_adv.serving.formats import FORMATS, check_installed
from keras_adv.serving.signatures import write_saved_model

PARTS = ("assets", "assets.extra", "fingerprint.pb", "saved_model.pb", "variables")
"""What a SavedModel consists of; assets.extra of ours holds warm-up requests."""


def export(model: keras.Model | str | Path, out: str | Path) -> Path:
    """Writes a TensorFlow SavedModel or, by how the name of `out` ends, a file: .onnx, .tflite (LiteRT) or
    .xml (OpenVINO, with its weights in .bin beside it).

    Signatures of the SavedModel, any batch size: `serving_default`: images float32 (B, H, W, C) in [0, 1] ->
    logits (B, K), probabilities (B, K), label (B,) int64; `uint8`: images of 0 to 255, and `encoded`, for
    images of one or three channels: (B,) bytes of JPEG or PNG files, resized where they have another size, to
    the same; `features`: images -> features (B, D), for models that have any (`keras_adv.features`).
    TensorFlow Serving warms each up with a grey image (assets.extra/tf_serving_warmup_requests). The files
    take images and give the same three answers as `serving_default`.

    Args:
        model: a Keras model with logits, or a .keras file.
        out: folder to write, replaced as a whole if it is a SavedModel; or FILE.onnx, FILE.tflite, FILE.xml,
            which is replaced.

    Raises:
        InvalidInput: unusable model, `out` holds something else, or another call writes it; for ONNX and
            OpenVINO also where tf2onnx or openvino is not installed.
    """
    out = Path(out)
    if isinstance(model, (str, Path)):
        model = read(Path(model))
    check_model(model)
    if out.suffix in FORMATS:
        check_installed(out.suffix)
    validate.make_writable(out.parent)
    beside = out.with_name(f".export-{out.name}")
    _check_replaceable(out, killed=beside.exists())
    beside.mkdir(exist_ok=True)
    with files.sole_use(beside):
        part, old = beside / "part", beside / "old"
        _clear(part, old)  # what a call that was killed left
        part.mkdir()
        if keras.config.backend() == "tensorflow":
            _write(model, part / out.name)
        else:
            _in_tensorflow(model, part / out.name)
        old.mkdir()
        if out.exists():
            os.replace(out, old / out.name)
        for path in _files(out):
            os.replace(part / path.name, path)
        _clear(part, old)
    files.remove(beside, re.compile(re.escape(files.LOCK)))
    return out


def _clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _files(out: Path) -> list[Path]:
    return FORMATS[out.suffix].files(out) if out.suffix in FORMATS else [out]


def _check_replaceable(out: Path, killed: bool) -> None:
    """Raises InvalidInput unless `out` is new, empty, or a SavedModel with nothing beside it; or a file of
    the format that its name says, with what belongs to it."""
    if out.suffix in FORMATS and not out.is_dir():
        return _check_file(out, killed)
    if out.is_file():
        raise validate.invalid("out", "a folder", str(out))
    holds = sorted(p.name for p in out.iterdir()) if out.exists() else []
    foreign = [name for name in holds if name not in PARTS]
    if "assets.extra" in holds and not warmup.is_ours(out / "assets.extra"):
        foreign.append("assets.extra")
    if foreign or (holds and "saved_model.pb" not in holds):
        raise validate.unusable(
            "out",
            "new, empty or a SavedModel with nothing else",
            f"{out}, which holds {(foreign or holds)[:3]}",
        )


def _check_file(out: Path, killed: bool) -> None:
    """Raises InvalidInput where another program's file would be lost: .xml and .bin say little."""
    if out.exists():
        with out.open("rb") as file:
            if FORMATS[out.suffix].begins not in file.read(200):
                raise validate.unusable(
                    "out", f"new, or a model's {out.suffix}", f"{out}, which is another file"
                )
        return
    for path in _files(out)[:-1]:
        if path.exists() and not killed:  # a call that was killed may have left it
            raise validate.unusable("out", f"a name without a {path.name} of its own", f"{out}")


def _in_tensorflow(model: keras.Model, out: Path) -> None:
    """Export needs TensorFlow: another backend hands a file to a process that runs it."""
    path = out.with_name(f"of-{out.name}.keras")
    model.save(path)
    command = [sys.executable, "-m", "keras_adv.serving.export", str(path), str(out)]
    env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    path.unlink()
    if done.returncode:
        raise RuntimeError(f"Export in a TensorFlow process failed:\n{done.stderr[-2000:]}")


def _write(model: keras.Model, out: Path) -> None:
    (FORMATS[out.suffix].write if out.suffix in FORMATS else write_saved_model)(model, out)


if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2])
