"""The SavedModel answers as the Keras model, where this package is not installed, and holds requests for
TensorFlow Serving that it answers."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import keras_adv
from keras_adv.serving import warmup

BYTES, MESSAGE = 12, 11
MESSAGES = {
    "ModelSpec": {"name": 1, "signature_name": 3},
    "Entry": {"key": 1, "value": 2},
    "PredictRequest": {"model_spec": (1, "ModelSpec"), "inputs": (2, "Entry")},
    "PredictLog": {"request": (1, "PredictRequest")},
    "PredictionLog": {"predict_log": (6, "PredictLog")},
}
"""The numbers of tensorflow_serving/apis; tensors, and entries of its map, are here what they are on the
wire."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(the model of the zoo, the folder that it is exported to)."""
    model = keras_adv.zoo.load("critic_lenet_digits")
    out = tmp_path_factory.mktemp("served") / "1"
    return model, keras_adv.export(model, out)


def test_saved_model_serves_without_this_package(served, digits):
    model, out = served
    x = digits.test[0][:7]
    np.save(out.parent / "x.npy", x)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "sys.modules['keras_adv'] = None\n"
        f"m = tf.saved_model.load({str(out)!r})\n"
        f"x = np.load({str(out.parent / 'x.npy')!r})\n"
        "r = {k: v.numpy() for k, v in m.signatures['serving_default'](images=tf.constant(x)).items()}\n"
        "r['features'] = m.signatures['features'](images=tf.constant(x[:3]))['features'].numpy()\n"
        f"np.savez({str(out.parent / 'r.npz')!r}, **r)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out.parent / "r.npz") as answers:
        z = model.predict(x, verbose=0)
        np.testing.assert_allclose(answers["logits"], z, atol=1e-5)
        np.testing.assert_array_equal(answers["label"], z.argmax(1))
        np.testing.assert_allclose(answers["probabilities"].sum(1), 1, rtol=1e-5)
        inner = keras.Model(model.inputs, model.get_layer("features").output)
        np.testing.assert_allclose(answers["features"], inner.predict(x[:3], verbose=0), atol=1e-5)


def test_export_replaces_a_saved_model_and_keeps_its_hands_off_other_folders(served, tmp_path):
    model, out = served
    assert keras_adv.export(model, out) == out and (out / "saved_model.pb").is_file()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(keras_adv.InvalidInput, match="a SavedModel"):
        keras_adv.export(model, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["labels.txt", "assets.extra/labels.txt"])
def test_what_lies_beside_a_saved_model_is_never_removed(name, served):
    model, out = served
    (out / name).write_text("mine")
    with pytest.raises(keras_adv.InvalidInput, match=name.split("/")[0]):
        keras_adv.export(model, out)
    assert (out / name).read_text() == "mine"
    (out / name).unlink()


def test_an_export_that_was_killed_is_made_again_and_leaves_nothing(served, tmp_path):
    model, _ = served
    out, beside = tmp_path / "1", tmp_path / ".export-1"
    (beside / "part").mkdir(parents=True)
    (beside / "part" / "saved_model.pb").write_text("half")
    (beside / "old" / "1").mkdir(parents=True)  # the older one, moved aside
    assert (keras_adv.export(model, out) / "saved_model.pb").is_file() and not beside.exists()


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="loads a SavedModel")
def test_the_signature_takes_no_other_shape_and_no_nan(served):
    import tensorflow as tf

    signature = tf.saved_model.load(str(served[1])).signatures["serving_default"]
    for wrong in (np.zeros((2, 8, 9, 1), "float32"), np.full((1, 8, 8, 1), np.nan, "float32")):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signature(images=tf.constant(wrong))


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="loads a SavedModel")
def test_bytes_and_encoded_files_are_answered_as_images(served, digits):
    import tensorflow as tf

    model, out = served
    pixels = np.round(255 * digits.test[0][:5]).astype("uint8")
    wanted = model.predict(pixels / np.float32(255), verbose=0)
    signatures = tf.saved_model.load(str(out)).signatures
    np.testing.assert_allclose(signatures["uint8"](images=tf.constant(pixels))["logits"], wanted, atol=1e-5)
    files = tf.constant([tf.io.encode_png(one).numpy() for one in pixels])
    np.testing.assert_allclose(signatures["encoded"](images=files)["logits"], wanted, atol=1e-5)
    larger = tf.constant([tf.io.encode_jpeg(np.full((30, 20, 1), 128, "uint8")).numpy()])
    grey = model.predict(np.full((1, 8, 8, 1), 128 / 255, "float32"), verbose=0)
    np.testing.assert_allclose(signatures["encoded"](images=larger)["logits"], grey, atol=0.05)


@pytest.fixture(scope="module")
def prediction_log():
    """The class PredictionLog, of `MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(name="log.proto", package="serving", syntax="proto3")
    for name, fields in MESSAGES.items():
        kind = file.message_type.add(name=name)
        for field, at in fields.items():
            number, inner = at if isinstance(at, tuple) else (at, None)
            added = kind.field.add(name=field, number=number, label=3 if inner == "Entry" else 1)
            added.type = MESSAGE if inner else BYTES
            if inner:
                added.type_name = f".serving.{inner}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def records(out):
    import tensorflow as tf

    return [r.numpy() for r in tf.data.TFRecordDataset(str(out / "assets.extra/tf_serving_warmup_requests"))]


def test_each_signature_answers_its_request(served, prediction_log):
    import tensorflow as tf

    signatures = tf.saved_model.load(str(served[1])).signatures
    asked = []
    for record in records(served[1]):
        request = prediction_log.FromString(record).predict_log.request
        asked.append(request.model_spec.signature_name.decode())
        (wanted,) = signatures[asked[-1]].structured_input_signature[1].values()
        # parse_tensor reads a TensorProto as a server does
        given = {e.key.decode(): tf.io.parse_tensor(e.value, wanted.dtype) for e in request.inputs}
        assert list(given) == ["images"] and len(given["images"]) == 1
        for name, answer in signatures[asked[-1]](**given).items():
            assert len(answer) == 1 and np.isfinite(answer).all(), (asked[-1], name)
    assert sorted(asked) == sorted(signatures) == ["encoded", "features", "serving_default", "uint8"]


def test_tensorflow_serving_reads_the_same(served, prediction_log):
    theirs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2").PredictionLog
    for record in records(served[1]):
        mine, request = prediction_log.FromString(record), theirs.FromString(record).predict_log.request
        (entry,) = mine.predict_log.request.inputs
        assert (
            request.model_spec.signature_name.encode() == mine.predict_log.request.model_spec.signature_name
        )
        assert request.inputs["images"].SerializeToString() == entry.value
        assert theirs.FromString(record).SerializeToString(deterministic=True) == record


@pytest.mark.parametrize("size", [0, 127, 128, 20_000, 3_000_000])
def test_fields_of_any_length_are_read(size, prediction_log):
    """Large ones too: the PNG of a large image."""
    tensor = bytes(size)
    request = prediction_log.FromString(warmup._request(b"encoded", tensor)).predict_log.request
    assert request.inputs[0].value == tensor and request.model_spec.signature_name == b"encoded"


def test_requests_that_somebody_recorded_are_kept(served, tmp_path):
    import tensorflow as tf

    model, out = served
    file = out / warmup.REQUESTS
    ours = records(out)
    for kept in ([ours[0].replace(b"keras_adv", b"their_net")], [*ours, b""]):
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in kept:
                writer.write(record)
        with pytest.raises(keras_adv.InvalidInput, match=r"assets\.extra"):
            keras_adv.export(model, out)
        assert records(out) == kept


def test_a_model_of_other_channels_has_no_request_for_files(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Flatten(), keras.layers.Dense(3)])
    kept = b"".join(records(keras_adv.export(model, tmp_path / "1")))
    assert b"uint8" in kept and b"encoded" not in kept
