"""What a served model answers, and the formats that it is written in."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras

from keras_adv import validate
from keras_adv.arrays import flatten
from keras_adv.classifier import check_model
from keras_adv.features import has_features, with_features

OPSET = 17
"""Version of the ONNX operators: that of onnxruntime 1.12 and later."""

_ANSWERS = ("logits", "probabilities", "label")


def _answers(logits: Any) -> dict[str, Any]:
    import tensorflow as tf

    logits = tf.cast(logits, tf.float32)
    found = (logits, tf.nn.softmax(logits), tf.argmax(logits, axis=1))
    return dict(zip(_ANSWERS, found, strict=True))


def write_saved_model(model: keras.Model, out: Path) -> None:
    """Writes the SavedModel that `export` describes."""
    import tensorflow as tf

    shape, _ = check_model(model)
    archive = keras.export.ExportArchive()
    archive.track(model)

    def of_images(images: Any) -> Any:
        """A signature alone does not keep out other widths, nor NaN."""
        return tf.debugging.check_numerics(tf.ensure_shape(images, (None, *shape)), "images must be finite")

    def serve(images: Any) -> dict[str, Any]:
        return _answers(model(of_images(images), training=False))

    def of_bytes(images: Any) -> dict[str, Any]:
        return serve(tf.cast(images, tf.float32) / 255.0)

    def of_files(images: Any) -> dict[str, Any]:
        return serve(tf.map_fn(_decoded, images, fn_output_signature=tf.float32))

    def _decoded(content: Any) -> Any:
        pixels = tf.io.decode_image(content, channels=shape[2], expand_animations=False)
        # antialiased, for files are larger more often than smaller
        scaled = tf.image.resize(tf.cast(pixels, tf.float32) / 255.0, shape[:2], antialias=True)
        return tf.ensure_shape(tf.clip_by_value(scaled, 0.0, 1.0), shape)

    images = tf.TensorSpec((None, *shape), tf.float32, name="images")
    archive.add_endpoint("serving_default", serve, [images])
    archive.add_endpoint("uint8", of_bytes, [tf.TensorSpec((None, *shape), tf.uint8, name="images")])
    if shape[2] in (1, 3):
        archive.add_endpoint("encoded", of_files, [tf.TensorSpec((None,), tf.string, name="images")])
    if has_features(model):

        def features(images: Any) -> dict[str, Any]:
            found, _ = with_features(model, lambda: model(of_images(images), training=False))
            return {"features": tf.cast(flatten(found), tf.float32)}

        archive.add_endpoint("features", features, [images])
    archive.write_out(str(out), verbose=False)


def check_onnx() -> None:
    """Raises InvalidInput where ONNX files cannot be written."""
    if importlib.util.find_spec("tf2onnx") is None:
        needed = "a folder where tf2onnx is not installed (pip install 'keras_adv[onnx]')"
        raise validate.unusable("out", needed, "a name that ends in .onnx")


def write_onnx(model: keras.Model, out: Path) -> None:
    """Writes the ONNX file that `export` describes."""
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shape, _ = check_model(model)
    images = tf.TensorSpec((None, *shape), tf.float32, name="images")
    serve = tf.function(lambda images: _answers(model(images, training=False)))
    # tensors that layers hold beside their weights, Normalization's mean say, become constants too
    frozen = convert_variables_to_constants_v2(serve.get_concrete_function(images))
    names = {tensor.name: name for tensor, name in zip(frozen.outputs, sorted(_ANSWERS), strict=True)}
    (entry,) = (tensor.name for tensor in frozen.inputs)
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[entry],
        output_names=list(names),
        tensors_to_rename={entry: "images", **names},
        opset=OPSET,
        output_path=str(out),
    )
