"""Models in one file: ONNX, LiteRT, OpenVINO. Images (B, H, W, C) -> logits, probabilities, label, any B."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_adv import validate
from keras_adv.classifier import check_model
from keras_adv.serving.signatures import ANSWERS, answers

OPSET = 17
"""Version of the ONNX operators: that of onnxruntime 1.12 and later."""


def write_onnx(model: keras.Model, out: Path) -> None:
    """Writes FILE.onnx."""
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    serve = tf.function(lambda images: answers(model(images, training=False)))
    # tensors that layers hold beside their weights, Normalization's mean say, become constants too
    frozen = convert_variables_to_constants_v2(serve.get_concrete_function(_images(model)))
    names = {tensor.name: name for tensor, name in zip(frozen.outputs, sorted(ANSWERS), strict=True)}
    (entry,) = (tensor.name for tensor in frozen.inputs)
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[entry],
        output_names=list(names),
        tensors_to_rename={entry: "images", **names},
        opset=OPSET,
        output_path=str(out),
    )


def write_litert(model: keras.Model, out: Path) -> None:
    """Writes FILE.tflite, in float32 and of LiteRT's own operators."""
    import tensorflow as tf

    # from a SavedModel: of a function, the converter takes a Keras 3 model's weights for NaN
    folder = _saved_model(model, out)
    out.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())
    shutil.rmtree(folder)


def write_openvino(model: keras.Model, out: Path) -> None:
    """Writes FILE.xml, the graph, and FILE.bin, the weights in float32."""
    import openvino

    folder = _saved_model(model, out)
    # read_model, where convert_model would also look for a consent to telemetry
    openvino.save_model(openvino.Core().read_model(str(folder)), str(out), compress_to_fp16=False)
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Format:
    """A format of files.

    Args:
        write: writes a model to a path, on the TensorFlow backend.
        module: what must be installed for it besides TensorFlow, if anything.
        extra: of this package, which installs that.
        also: how a second file's name ends, which belongs to the first.
        begins: what stands among the first bytes of such a file, if anything does.
    """

    write: Callable[[keras.Model, Path], None]
    module: str = ""
    extra: str = ""
    also: str = ""
    begins: bytes = b""

    def files(self, out: Path) -> list[Path]:
        """The files of `out`, the first last: a reader without it finds no model."""
        return [*([out.with_suffix(self.also)] if self.also else []), out]


FORMATS = {
    ".onnx": Format(write_onnx, "tf2onnx", "onnx"),
    ".tflite": Format(write_litert, begins=b"TFL3"),
    ".xml": Format(write_openvino, "openvino", "openvino", also=".bin", begins=b"<net "),
}
"""How the name of a file ends -> its format."""


def check_installed(ending: str) -> None:
    """Raises InvalidInput where files that end so cannot be written."""
    needed = FORMATS[ending]
    if needed.module and importlib.util.find_spec(needed.module) is None:
        folder = f"a folder where {needed.module} is not installed (pip install 'keras_adv[{needed.extra}]')"
        raise validate.unusable("out", folder, f"a name that ends in {ending}")


def _images(model: keras.Model) -> Any:
    import tensorflow as tf

    shape, _ = check_model(model)
    return tf.TensorSpec((None, *shape), tf.float32, name="images")


def _saved_model(model: keras.Model, out: Path) -> Path:
    """A folder beside `out` with a SavedModel of nothing but the answers to images, for a converter."""
    folder = out.with_name(f"{out.name}.saved_model")
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default", lambda images: answers(model(images, training=False)), [_images(model)]
    )
    archive.write_out(str(folder), verbose=False)
    return folder
