"""The SavedModel answers as the Keras model, where this package is not installed."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_adv


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


@pytest.mark.parametrize("name", ["labels.txt", "assets.extra"])
def test_what_lies_beside_a_saved_model_is_never_removed(name, served):
    model, out = served
    (out / name).write_text("mine")
    with pytest.raises(keras_adv.InvalidInput, match=name):
        keras_adv.export(model, out)
    assert (out / name).read_text() == "mine"
    (out / name).unlink()


def test_an_export_that_was_killed_is_made_again_and_leaves_nothing(served, tmp_path):
    model, _ = served
    out, beside = tmp_path / "1", tmp_path / ".export-1"
    (beside / "part").mkdir(parents=True)
    (beside / "part" / "saved_model.pb").write_text("half")
    (beside / "1").mkdir()  # the older one, moved aside
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["critic_lenet_digits", "standard_wrn_cifar10"])
def test_an_onnx_file_answers_and_is_fooled_as_the_model(name, tmp_path):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = keras_adv.zoo.load(name)
    file = keras_adv.export(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    shape = model.input_shape[1:]
    x = np.random.default_rng(0).random((6, *shape)).astype("float32")
    if name.endswith("_digits"):
        x = keras_adv.data.load("digits").test[0][:60]
    y = model.predict(x, verbose=0).argmax(1)
    made = keras_adv.attack(model, x, y, "pgd(threat=linf(eps=0.15), steps=10)").images
    for images in (x, made, x[:1]):
        names = [output.name for output in session.get_outputs()]
        answers = dict(zip(names, session.run(None, {"images": images}), strict=True))
        z = model.predict(images, verbose=0)
        np.testing.assert_allclose(answers["logits"], z, atol=2e-4)
        np.testing.assert_array_equal(answers["label"], z.argmax(1))
        np.testing.assert_allclose(answers["probabilities"].sum(1), 1, rtol=1e-5)
    assert keras_adv.export(model, tmp_path / "model.onnx") == file and len(list(tmp_path.iterdir())) == 1


def test_without_tf2onnx_an_onnx_file_is_refused(served, tmp_path, monkeypatch):
    from keras_adv.serving import signatures

    monkeypatch.setattr(signatures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(keras_adv.InvalidInput, match=r"`out` must be .*keras_adv\[onnx\]"):
        keras_adv.export(served[0], tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
