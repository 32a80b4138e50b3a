"""Requests that TensorFlow Serving asks of a model before it takes any other: the first ones take longest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"
"""Where TensorFlow Serving looks, below the folder of the SavedModel."""

_NAME = b"keras_adv"
"""The model's name in a request. Servers do not look at it here; it says who wrote the request."""


def write(folder: Path, images: dict[str, Any]) -> None:
    """Writes a request for each signature.

    Args:
        folder: of the SavedModel.
        images: signature -> TensorProto, what to send as its `images`.
    """
    import tensorflow as tf

    path = folder / REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, sent in images.items():
            writer.write(_request(signature.encode(), sent.SerializeToString()))


def is_ours(assets: Path) -> bool:
    """Whether a folder assets.extra holds nothing but requests that this package wrote."""
    path = assets / REQUESTS.name
    if not assets.is_dir() or [p.name for p in assets.iterdir()] != [path.name] or not path.is_file():
        return False
    rest = path.read_bytes()
    ours = bool(rest)
    while rest and ours:  # a record: its length in 8 bytes, a checksum in 4, itself, a checksum in 4
        end = 12 + int.from_bytes(rest[:8], "little")
        ours, rest = _field(1, _NAME) in rest[12:end], rest[end + 4 :]
    return ours


def _request(signature: bytes, tensor: bytes) -> bytes:
    """A PredictionLog, by the numbers of the fields in tensorflow_serving/apis.

    prediction_log.proto: predict_log = 6, and its request = 1; predict.proto: model_spec = 1 and the map
    inputs = 2, whose entries have key = 1 and value = 2; model.proto: name = 1, signature_name = 3.
    """
    spec = _field(1, _NAME) + _field(3, signature)
    entry = _field(1, b"images") + _field(2, tensor)
    return _field(6, _field(1, _field(1, spec) + _field(2, entry)))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, of text or of a message, as Protocol Buffers write it: all that are needed here."""
    size, length = len(content), b""
    while size > 127:  # seven bits a byte, the lowest first; all bytes but the last have the eighth bit
        size, length = size >> 7, length + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
