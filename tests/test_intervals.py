import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import InvalidInput, models
from keras_adv.backend import Net, value_and_grad
from keras_adv.intervals import around, logit_bounds, margin_bounds

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.random((6, 8, 8, 1)).astype("float32")
Y = np.arange(6, dtype="int32") % 3
EPS = 0.05


def disturbed(net, seed=0):
    """Weights and statistics of which none is 0 or 1."""
    rng = np.random.default_rng(seed)
    net.set_weights(
        [rng.uniform(0.2, 1.0, w.shape) * rng.choice([1, 1, -1], w.shape) for w in net.get_weights()]
    )
    for layer in net._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.moving_variance.assign(ops.abs(layer.moving_variance))
    return net


def with_all_layers():
    x = inputs = keras.Input((8, 8, 1))
    x = L.Rescaling(-2.0, offset=1.0)(x)
    x = L.ZeroPadding2D(1)(x)
    x = L.Conv2D(3, 3, strides=2, use_bias=False)(x)
    x = L.BatchNormalization()(x)
    h = L.LeakyReLU(0.2)(x)
    x = L.Add()([L.Conv2D(3, 1, activation="silu")(h), h])
    x = L.Concatenate()([L.MaxPooling2D(2, 1, "same")(x), L.AveragePooling2D(2, 1, "same")(x)])
    x = L.Dropout(0.5)(L.BatchNormalization(scale=False)(x))
    x = L.Activation("gelu")(L.Dense(4)(x))
    x = L.Dense(5, activation="tanh")(L.Flatten()(x))
    return keras.Model(inputs, L.Dense(3)(x))


def of(*layers):
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def subtracting():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Subtract()([inputs, inputs]))))


NETS = {
    "all layers": with_all_layers,
    "lenet": lambda: models.LeNet().build((8, 8, 1), 3),
    "wrn": lambda: models.WRN(depth=10, width=1).build((8, 8, 1), 3, [0.3], [0.4]),
    "a model inside": lambda: of(
        keras.Sequential([L.Flatten(), L.Dense(6, "relu")]), L.Dense(3, use_bias=False)
    ),
    "ends in an activation": lambda: of(L.Flatten(), L.Dense(3, activation="softplus")),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_what_a_net_answers_in_the_ball_is_within_the_bounds(name):
    net = disturbed(NETS[name]())
    low, high = around(X, EPS)
    least, most = map(np.asarray, logit_bounds(Net(net), low, high))
    upper = np.asarray(margin_bounds(Net(net), low, high, Y))
    corners = np.sign(RNG.normal(size=(200, *X.shape)))
    drawn = np.concatenate([corners, RNG.uniform(-1, 1, (100, *X.shape))])
    slack = 1e-4 * np.abs(most).max()
    for step in drawn.astype("float32"):
        z = np.asarray(net(np.clip(X + EPS * step, 0, 1), training=False))
        assert np.all(z >= least - slack) and np.all(z <= most + slack)
        assert np.all(z - z[np.arange(6), Y][:, None] <= upper + slack)
    assert np.all(upper[np.arange(6), Y] == 0)
    assert np.all(upper <= most - least[np.arange(6), Y][:, None] + slack)


@pytest.mark.parametrize("name", NETS)
def test_without_a_radius_they_are_the_answers(name):
    net = disturbed(NETS[name]())
    z = np.asarray(net(X, training=False))
    least, most = logit_bounds(Net(net), X, X)
    np.testing.assert_allclose(least, z, rtol=1e-4, atol=1e-4 * np.abs(z).max())
    np.testing.assert_allclose(most, z, rtol=1e-4, atol=1e-4 * np.abs(z).max())


def test_of_a_linear_net_they_are_reached():
    net = disturbed(of(L.Flatten(), L.Dense(3)))
    kernel, bias = net.get_weights()
    low, high = around(X, EPS)
    upper = np.asarray(margin_bounds(Net(net), low, high, Y))
    for i in range(6):
        for k in range(3):
            w = (kernel[:, k] - kernel[:, Y[i]]).reshape(8, 8, 1)
            worst = np.where(w > 0, np.clip(X[i] + EPS, 0, 1), np.clip(X[i] - EPS, 0, 1))
            assert upper[i, k] == pytest.approx((w * worst).sum() + bias[k] - bias[Y[i]], abs=1e-4)


def test_the_gradient_by_the_weights_is_the_slope():
    net = disturbed(NETS["all layers"]())
    low, high = around(X, EPS)
    total = lambda: float(np.sum(margin_bounds(Net(net), low, high, Y)))  # noqa: E731
    kernel = net.layers[-1].kernel
    before, step = total(), np.zeros(kernel.shape, "float32")
    step[2, 1] = 1e-2
    start = np.array(kernel)
    kernel.assign(start + step)
    up = total()
    kernel.assign(start - step)
    slope = (up - total()) / 2e-2
    kernel.assign(start)
    values = [v.value for v in net.trainable_variables]

    def loss(given):
        return ops.sum(margin_bounds(Net(net, given=given), low, high, Y), axis=1), None

    found = value_and_grad(loss, [ops.convert_to_tensor(v) for v in values])[2]
    where = [v is kernel for v in net.trainable_variables].index(True)
    assert before == pytest.approx(total())
    assert float(found[where][2, 1]) == pytest.approx(slope, rel=2e-2, abs=1e-2)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (subtracting, "Subtract"),
        (lambda: of(L.Flatten(), L.LayerNormalization(), L.Dense(3)), "LayerNormalization"),
        (lambda: of(L.Flatten(), L.Dense(4, "softmax"), L.Dense(3)), "softmax"),
    ],
)  # fmt: skip
def test_a_layer_without_bounds_is_named(made, word):
    with pytest.raises(InvalidInput, match=word):
        logit_bounds(Net(made()), *around(X, EPS))
