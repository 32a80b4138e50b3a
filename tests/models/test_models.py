"""Laws of every registered network."""

import functools

import keras
import numpy as np
import pytest

from keras_adv import models, registry

NAMES = list(registry.registered("model"))
SMALLEST = {
    "alexnet": "alexnet(hidden=8)",
    "madry_cnn": "madry_cnn(hidden=16)",
    "mlp": "mlp(units=(20, 10))",
    "resnet18": "resnet18(form='afd_mnist')",
    "resnet50": "resnet50(width=2)",
    "vgg": "vgg(width=2)",
    "wrn": "wrn(depth=10, width=1)",
}
"""The smallest net of a family that has every kind of layer that the family has."""
MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]


def build(name, seed=0):
    """The net with normalisation, for seven classes; AlexNet takes no fewer than 63 pixels."""
    side = 64 if name == "alexnet" else 16
    design = registry.parse("model", SMALLEST.get(name, name))
    return design.build((side, side, 3), 7, mean=MEAN, std=STD, seed=seed)


built = functools.cache(build)


def images(model, count=3):
    return np.random.default_rng(0).random((count, *model.input_shape[1:])).astype("float32")


@pytest.mark.parametrize("name", NAMES)
def test_logits_features_and_normalisation_inside(name):
    model = built(name)
    x = images(model)
    normalised, z = keras.Model(model.inputs, [model.get_layer("normalize").output, model.output])(x)
    assert z.shape == (3, 7) and np.isfinite(np.asarray(z)).all()
    assert not np.allclose(np.asarray(z).sum(1), 1)
    assert len(model.get_layer("features").output.shape) == 2
    np.testing.assert_allclose(normalised, (x - MEAN) / STD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lenet", "resnet"])
def test_seed_decides_the_weights(name):
    one, two, other = (model.get_weights() for model in (built(name), build(name), build(name, seed=1)))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_gives_the_same_logits(name, tmp_path):
    model = built(name)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    x = images(model)
    np.testing.assert_allclose(loaded(x, training=False), model(x, training=False), atol=1e-6)


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="6 n \\+ 4"):
        models.WRN(depth=18)
    with pytest.raises(ValueError, match="'small'"):
        models.LeNet(form="thesis").build((8, 8, 1), 10)


def test_pad_shortcut_keeps_values_and_adds_zeros():
    x = np.random.default_rng(0).random((1, 4, 4, 2)).astype("float32")
    out = np.asarray(models.resnet.pad_shortcut(x, 4, 2))
    np.testing.assert_array_equal(out[..., 1:3], x[:, ::2, ::2])
    assert (out[..., [0, 3]] == 0).all()


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("name", ["lenet", "resnet", "wrn"])
def test_networks_take_channels_last_whatever_keras_is_set_to(name, channels_first):
    made = registry.parse("model", SMALLEST.get(name, name)).build((28, 28, 1), 10)
    assert made.output_shape == (None, 10) and keras.config.image_data_format() == "channels_first"
    assert made(np.zeros((2, 28, 28, 1), "float32")).shape == (2, 10)


@pytest.mark.parametrize("name", ["mlp(units=(60, 40))", "lenet()"])
@pytest.mark.parametrize("initializer", ["he_normal", "glorot_uniform"])
def test_where_the_weights_start(initializer, name):
    net = registry.parse("model", name).replace(initializer=initializer).build((8, 8, 1), 10, seed=1)
    kernels = [v for v in net.trainable_variables if v.path.endswith("kernel")]
    assert len(kernels) == 3 + (name == "lenet()")
    for kernel in kernels:
        w = np.asarray(kernel)
        inputs, outputs = (int(np.prod(w.shape[:-2])) * n for n in w.shape[-2:])
        if initializer == "he_normal":
            assert w.std() == pytest.approx(np.sqrt(2 / inputs), rel=0.15)
        else:
            limit = np.sqrt(6 / (inputs + outputs))
            assert 0.95 * limit < np.abs(w).max() <= limit and w.std() == pytest.approx(
                limit / np.sqrt(3), rel=0.15
            )
