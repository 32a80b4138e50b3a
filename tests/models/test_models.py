"""Laws of every registered network, and the parameter counts of the papers."""

import keras
import numpy as np
import pytest

from keras_adv import models, registry

NAMES = list(registry.registered("model"))
SMALL = {"alexnet": "alexnet(hidden=64)", "vgg": "vgg(width=16)"}
"""Where the full net is too large for a quick test."""


def build(name, side, channels, classes, **options):
    """The net; AlexNet takes no fewer than 63 pixels."""
    side = 64 if name == "alexnet" else side
    return registry.parse("model", SMALL.get(name, name)).build((side, side, channels), classes, **options)


@pytest.mark.parametrize("name", NAMES)
def test_logits_features_and_normalisation_inside(name):
    model = build(name, 32, 3, 7, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    x = np.random.default_rng(0).random((2, *model.input_shape[1:])).astype("float32")
    z = model.predict(x, verbose=0)
    assert z.shape == (2, 7) and np.isfinite(z).all()
    assert not np.allclose(z.sum(1), 1)
    assert len(model.get_layer("features").output.shape) == 2
    inner = keras.Model(model.inputs, model.get_layer("normalize").output)
    np.testing.assert_allclose(
        inner.predict(x, verbose=0), (x - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_seed_decides_the_weights(name):
    one, two, other = (build(name, 16, 1, 3, seed=s).get_weights() for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_gives_the_same_logits(name, tmp_path):
    model = build(name, 16, 1, 3)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).random((3, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "shape", "count"),
    [
        ("mlp()", (28, 28, 1), 784 * 1200 + 2 * 1200 * 1200 + 3 * 1200 + 1200 * 10 + 10),
        ("lenet()", (28, 28, 1), 26 * 32 + 32 * 25 * 64 + 64 + 1024 * 512 + 512 + 5130),
        ("lenet(form='matconvnet')", (28, 28, 1), 431080),  # Caffe's LeNet
        ("resnet(depth=20)", (32, 32, 3), 269722),  # 0.27 M, He et al., table 6
        ("resnet(depth=32)", (32, 32, 3), 464154),  # 0.46 M
        ("resnet(depth=56)", (32, 32, 3), 853018),  # 0.85 M
        ("wrn(depth=16, width=2)", (32, 32, 3), 691674),  # 0.7 M, Zagoruyko, table 5
        ("wrn(depth=28, width=10)", (32, 32, 3), 36479194),  # 36.5 M
    ],
)
def test_trainable_parameters_are_those_of_the_papers(spec, shape, count):
    model = registry.parse("model", spec).build(shape, 10)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_variables) == count


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="6 n \\+ 4"):
        models.WRN(depth=18)
    with pytest.raises(ValueError, match="'small'"):
        models.LeNet(form="thesis").build((8, 8, 1), 10)


def test_pad_shortcut_keeps_values_and_adds_zeros():
    x = np.random.default_rng(0).random((1, 4, 4, 2)).astype("float32")
    out = np.asarray(models.resnet.PadShortcut(4, 2)(x))
    np.testing.assert_array_equal(out[..., 1:3], x[:, ::2, ::2])
    assert (out[..., [0, 3]] == 0).all()
