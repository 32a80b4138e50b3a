"""The faster input gradient of convolutions is TensorFlow's own, to second order, and no model changes."""

import keras
import numpy as np
import pytest

from keras_adv.backend import Net, convolution, value_and_grad

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(not convolution.AVAILABLE, reason="TensorFlow on a CPU only")
SIZES = [(16, 16), (28, 28), (17, 30), (19, 16)]


def orders(convolve, x, kernel, aim, v):
    """Value, gradients by image and kernel, and those of the image gradient's square and product with v."""
    x, kernel = tf.constant(x), tf.constant(kernel)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch((x, kernel))
        with tf.GradientTape() as inner:
            inner.watch((x, kernel))
            out = convolve(x, kernel)
            loss = tf.reduce_sum(aim * tf.sin(out))
        slopes = inner.gradient(loss, (x, kernel))
        second = tf.reduce_sum(slopes[0] ** 2), tf.reduce_sum(v * slopes[0])
    return [out, *slopes, *(g for s in second for g in outer.gradient(s, (x, kernel)))]


@pytest.mark.parametrize("sides", SIZES, ids=str)
@pytest.mark.parametrize("window", [(5, 5), (3, 3), (2, 4), (1, 1)], ids=str)
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_gradients_to_second_order_are_tensorflows(sides, window, padding):
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal((2, 2, *sides, 1)) / 4
    kernel = rng.standard_normal((*window, 1, 3)) / 4
    plain = lambda x, kernel: tf.nn.conv2d(x, kernel, 1, padding)  # noqa: E731
    aim = rng.standard_normal(plain(x, kernel).shape)
    want = orders(plain, x, kernel, aim, v)
    have = orders(lambda *given: convolution.convolve(*given, padding), x, kernel, aim, v)
    for a, b in zip(have, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)  # in float64


def small(channels=1, **options):
    inputs = keras.Input((20, 20, channels))
    h = keras.layers.Conv2D(4, 3, **options)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(h)))


def test_it_is_used_once_where_it_holds_and_the_model_is_left_as_it_was(monkeypatch):
    model, used = small(activation="relu"), []
    real = convolution.convolve
    monkeypatch.setattr(convolution, "convolve", lambda *a, **k: used.append(1) or real(*a, **k))
    x = np.random.default_rng(0).random((5, 20, 20, 1), "float32")
    look = lambda v: (Net(model)(v)[:, 0], None)  # noqa: E731
    quick = value_and_grad(look, x)
    assert used == [1] and "convolution_op" not in vars(model.layers[1])
    with pytest.raises(ValueError, match=r"incompatible|shape"):
        Net(model)(x[..., :1].repeat(2, axis=-1))
    assert "convolution_op" not in vars(model.layers[1])
    monkeypatch.setattr(convolution, "AVAILABLE", False)
    plain = value_and_grad(look, x)
    np.testing.assert_array_equal(quick[0], plain[0])
    np.testing.assert_allclose(quick[2], plain[2], atol=1e-6)


class Own(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return 2 * super().convolution_op(inputs, kernel)


@pytest.mark.parametrize("options", [{"strides": 2}, {"dilation_rate": 2}, {"channels": 3}], ids=str)
def test_other_convolutions_keep_their_own(options, monkeypatch):
    monkeypatch.setattr(convolution, "convolve", lambda *a, **k: pytest.fail("used"))
    x = np.random.default_rng(0).random((5, 20, 20, options.get("channels", 1)), "float32")
    Net(small(**options))(x)
    inputs = keras.Input(x.shape[1:])
    Net(keras.Model(inputs, Own(4, 3)(inputs)))(x)
