"""Wide residual networks: Madry et al.'s form."""

import keras
import numpy as np

from keras_adv.models.wrn import WRN, per_image


def features(net, x):
    return np.asarray(keras.Model(net.inputs, net.get_layer("features").output)(x))


def test_w32_10_has_the_challenges_weights(monkeypatch):
    def zeros(self, shape, dtype=None, **kwargs):
        return keras.ops.zeros(shape, dtype)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", zeros)
    net = WRN(depth=34, width=10, shortcut="pad", slope=0.1, per_image=True).build((32, 32, 3), 10)
    # TRADES' WRN-34-10 less the shortcuts 16*160 + 160*320 + 320*640
    assert sum(int(np.prod(w.shape)) for w in net.trainable_variables) == 46160474 - 258560 == 45901914


def test_without_residues_only_the_shortcuts_are_left():
    net = WRN(depth=16, width=2, shortcut="pad", slope=0.1).build((8, 8, 1), 3)
    convolutions = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions[2::2]:
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")

    def act(v):
        return np.where(v > 0, v, 0.1 * v) / np.sqrt(1 + 1e-5)

    h = np.pad(act(np.asarray(keras.Model(net.inputs, convolutions[0].output)(x))), [(0, 0)] * 3 + [(8, 8)])
    for more in (16, 32):
        h = h.reshape(2, h.shape[1] // 2, 2, h.shape[2] // 2, 2, -1).mean((2, 4))
        h = np.pad(h, [(0, 0), (0, 0), (0, 0), (more, more)])
    np.testing.assert_allclose(features(net, x), act(h).mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_per_image_is_tensorflows_and_a_flat_image_is_finite():
    x = np.random.default_rng(0).random((2, 4, 4, 3)).astype("float32")
    x[1] = 0.5
    z = x[0] - x[0].mean()
    out = np.asarray(per_image(x))
    np.testing.assert_allclose(out[0], z / z.std(), rtol=1e-4, atol=1e-5)
    assert (out[1] == 0).all()
    near = np.zeros((1, 4, 4, 3), "float32")
    near[0, 0, 0, 0] = 1e-5  # below the floor 1 / (255 sqrt(48))
    np.testing.assert_allclose(
        np.asarray(per_image(near)), (near - near.mean()) * 255 * np.sqrt(48), rtol=1e-4, atol=1e-7
    )


def test_dropout_stands_between_the_convolutions(tmp_path):
    net = WRN(depth=10, width=1, dropout=0.3, per_image=True).build((8, 8, 1), 3)
    drops = [layer for layer in net.layers if isinstance(layer, keras.layers.Dropout)]
    assert len(drops) == 3 and all(d.rate == 0.3 for d in drops)
    net.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(np.asarray(loaded(x)), np.asarray(net(x)), atol=1e-6)
