"""What a served model answers, and the SavedModel with all its signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from keras_adv.arrays import flatten
from keras_adv.classifier import check_model
from keras_adv.features import has_features, with_features
from keras_adv.serving import warmup

ANSWERS = ("logits", "probabilities", "label")


def answers(logits: Any) -> dict[str, Any]:
    """Logits (B, K), their probabilities, and the label (B,) that has the largest."""
    import tensorflow as tf

    logits = tf.cast(logits, tf.float32)
    found = (logits, tf.nn.softmax(logits), tf.argmax(logits, axis=1))
    return dict(zip(ANSWERS, found, strict=True))


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
        return answers(model(of_images(images), training=False))

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
    # one image of a single value, which a TensorProto keeps as such, not 3 MB for one of a large side
    grey = {"serving_default": tf.make_tensor_proto(0.5, tf.float32, (1, *shape))}
    grey["uint8"] = tf.make_tensor_proto(128, tf.uint8, (1, *shape))
    if shape[2] in (1, 3):
        archive.add_endpoint("encoded", of_files, [tf.TensorSpec((None,), tf.string, name="images")])
        png = tf.io.encode_png(tf.fill(shape, tf.constant(128, tf.uint8))).numpy()
        grey["encoded"] = tf.make_tensor_proto([png])
    if has_features(model):

        def features(images: Any) -> dict[str, Any]:
            found, _ = with_features(model, lambda: model(of_images(images), training=False))
            return {"features": tf.cast(flatten(found), tf.float32)}

        archive.add_endpoint("features", features, [images])
        grey["features"] = grey["serving_default"]
    archive.write_out(str(out), verbose=False)
    warmup.write(out, grey)
