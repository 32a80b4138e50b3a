"""Files of other runtimes answer as the Keras model, and are fooled as it is."""

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv.serving import export, formats
from keras_adv.serving.signatures import ANSWERS


def onnx(file):
    """(images) -> answers, of an ONNX file."""
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))


def litert(file):
    """The same of a LiteRT file. TensorFlow still has the older interpreter."""
    try:
        from ai_edge_litert import interpreter
    except ImportError:
        import tensorflow as tf

        interpreter = tf.lite
    runner = interpreter.Interpreter(model_path=str(file)).get_signature_runner()
    return lambda images: runner(images=images)


def openvino(file):
    """The same of an OpenVINO file. Unasked it computes in bfloat16 where the processor can."""
    runtime = pytest.importorskip("openvino")
    compiled = runtime.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def answer(images):
        found = compiled({"images": images})
        return {name: found[name] for name in ANSWERS}

    return answer


READERS = {".onnx": onnx, ".tflite": litert, ".xml": openvino}
NEEDED = {".onnx": "tf2onnx", ".xml": "openvino"}


def test_every_format_is_read_here():
    assert sorted(READERS) == sorted(formats.FORMATS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["critic_lenet_digits", "standard_wrn_cifar10"])
@pytest.mark.parametrize("ending", sorted(READERS))
def test_a_file_answers_and_is_fooled_as_the_model(ending, name, tmp_path):
    if ending in NEEDED:
        pytest.importorskip(NEEDED[ending])
    model = keras_adv.zoo.load(name)
    file = keras_adv.export(model, tmp_path / f"model{ending}")
    answer = READERS[ending](file)
    x = np.random.default_rng(0).random((6, *model.input_shape[1:])).astype("float32")
    if name.endswith("_digits"):
        x = keras_adv.data.load("digits").test[0][:60]
    y = model.predict(x, verbose=0).argmax(1)
    made = keras_adv.attack(model, x, y, "pgd(threat=linf(eps=0.15), steps=10)").images
    for images in (x, made, x[:1]):
        answers, z = answer(images), model.predict(images, verbose=0)
        assert sorted(answers) == sorted(ANSWERS)
        np.testing.assert_allclose(answers["logits"], z, atol=2e-4)
        np.testing.assert_array_equal(answers["label"], z.argmax(1))
        np.testing.assert_allclose(answers["probabilities"].sum(1), 1, rtol=1e-5)
    assert (answer(made)["label"] != y).any()
    files = sorted(formats.FORMATS[ending].files(file))
    assert keras_adv.export(model, file) == file and sorted(tmp_path.iterdir()) == files


def test_a_litert_file_keeps_what_normalization_keeps(tmp_path):
    """Constants that are no weights; and weights, which the converter loses when it is given a function."""
    scale = keras.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    model = keras.Sequential([keras.Input((3, 3, 3)), scale, keras.layers.Flatten(), keras.layers.Dense(4)])
    x = np.random.default_rng(0).random((5, 3, 3, 3)).astype("float32")
    answers = litert(keras_adv.export(model, tmp_path / "model.tflite"))(x)
    np.testing.assert_allclose(answers["logits"], model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize(("ending", "extra"), [(".onnx", "onnx"), (".xml", "openvino")])
def test_what_is_not_installed_is_named(ending, extra, net, tmp_path, monkeypatch):
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(keras_adv.InvalidInput, match=rf"`out` must be .*keras_adv\[{extra}\]"):
        keras_adv.export(net, tmp_path / f"model{ending}")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def two_files(monkeypatch):
    """The format of .xml, with a writer that needs nothing installed."""

    def write(model, out):
        out.write_text(f"<net {id(model)}>")
        out.with_suffix(".bin").write_text(str(id(model)))

    fake = formats.Format(write, also=".bin", begins=formats.FORMATS[".xml"].begins)
    monkeypatch.setitem(formats.FORMATS, ".xml", fake)
    return fake


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "model.tflite"])
def test_other_programs_files_are_not_replaced(name, two_files, net, tmp_path):
    (tmp_path / name).write_text("<layout>mine</layout>")
    out = tmp_path / name.replace(".bin", ".xml")
    with pytest.raises(keras_adv.InvalidInput, match="`out` must be"):
        keras_adv.export(net, out)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["<layout>mine</layout>"]


def test_a_kill_never_leaves_the_graph_of_one_model_with_the_weights_of_another(
    two_files, net, fresh, tmp_path, monkeypatch
):
    """And the next call goes on, wherever it was killed."""
    renamed = export.os.replace
    for last in range(4):
        out = tmp_path / str(last) / "model.xml"
        keras_adv.export(net, out)
        left = iter(range(last))

        def replace(old, new, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            renamed(old, new)

        monkeypatch.setattr(export.os, "replace", replace)
        if last < 3:  # moves the old graph away, the new weights in, the new graph in
            with pytest.raises(KeyboardInterrupt):
                keras_adv.export(fresh, out)
        else:
            keras_adv.export(fresh, out)
        monkeypatch.setattr(export.os, "replace", renamed)
        if out.exists():
            assert out.read_text() == f"<net {out.with_suffix('.bin').read_text()}>"
        keras_adv.export(fresh, out)
        assert out.with_suffix(".bin").read_text() == str(id(fresh)) in out.read_text()
        assert len(list(out.parent.iterdir())) == 2
