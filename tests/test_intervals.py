import keras
import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import InvalidInput, as_classifier, evaluate, models
from keras_adv.backend import Net, value_and_grad
from keras_adv.evaluation.certified import certified
from keras_adv.evaluation.certified import check as certified_check
from keras_adv.evaluation.image_set import classify
from keras_adv.intervals import around, logit_bounds, margin_bounds
from keras_adv.precision import computing_in

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.random((6, 8, 8, 1)).astype("float32")
Y = np.arange(6, dtype="int32") % 3
EPS = 0.05


def disturbed(net, seed=0):
    """Weights and statistics of which none is 0 or 1, of a size that leaves no unit saturated."""
    rng = np.random.default_rng(seed)
    sizes = [np.sqrt(np.prod(w.shape[:-1])) if w.ndim > 1 else 1.0 for w in net.get_weights()]
    shapes = [w.shape for w in net.get_weights()]
    net.set_weights([rng.uniform(-1.5, 1.5, shape) / size for shape, size in zip(shapes, sizes, strict=True)])
    for layer in net._flatten_layers():
        if isinstance(layer, L.BatchNormalization):
            layer.moving_variance.assign(0.5 + ops.abs(layer.moving_variance))
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


def without_layers():
    x = inputs = keras.Input((8, 8, 1))
    x = 1.5 - (2.0 * x - np.float32([0.25])) / -3.0
    x = ops.concatenate([x, -x + 0.5], axis=-1)
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(x)))


def of_numbers(compute):
    inputs = keras.Input((8, 8, 1))
    return lambda: keras.Model(inputs, L.Dense(3)(L.Flatten()(compute(inputs))))


NETS = {
    "all layers": with_all_layers,
    "lenet": lambda: models.LeNet().build((8, 8, 1), 3),
    "wrn": lambda: models.WRN(depth=10, width=1).build((8, 8, 1), 3, [0.3], [0.4]),
    "a model inside": lambda: of(
        keras.Sequential([L.Flatten(), L.Dense(6, "relu")]), L.Dense(3, use_bias=False)
    ),
    "without layers": without_layers,
    "ends in an activation": lambda: of(L.Flatten(), L.Dense(3, activation="softplus")),
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(NETS, *(name for name in NETS if name not in ("wrn", "lenet"))))
def test_what_a_net_answers_in_the_ball_is_within_the_bounds(name):
    net = disturbed(NETS[name]())
    low, high = around(X, EPS)
    least, most = map(np.asarray, logit_bounds(Net(net), low, high))
    upper = np.asarray(margin_bounds(Net(net), low, high, Y))
    corners = np.sign(RNG.normal(size=(200, *X.shape)))
    drawn = np.concatenate([corners, RNG.uniform(-1, 1, (100, *X.shape))])
    plain = np.asarray(net(X, training=False))
    assert np.ptp(plain, axis=0).min() > 1e-2  # no unit is saturated
    slack = 1e-4 * np.abs(plain).max()
    inside = np.clip(X + EPS * drawn, 0, 1).astype("float32").reshape(-1, *X.shape[1:])
    z = net.predict(inside, batch_size=len(inside), verbose=0).reshape(len(drawn), *plain.shape)
    assert np.all(z >= least - slack) and np.all(z <= most + slack)
    assert np.all(z - z[:, np.arange(6), Y][:, :, None] <= upper + slack)
    assert np.all(upper[np.arange(6), Y] == 0)
    assert np.all(upper <= most - least[np.arange(6), Y][:, None] + slack)


@pytest.mark.parametrize("name", NETS)
def test_without_a_radius_they_are_the_answers(name):
    net = disturbed(NETS[name]())
    z = np.asarray(net(X, training=False))
    least, most = logit_bounds(Net(net), X, X)
    np.testing.assert_allclose(least, z, rtol=1e-4, atol=1e-4 * np.abs(z).max())
    np.testing.assert_allclose(most, z, rtol=1e-4, atol=1e-4 * np.abs(z).max())


REACHED = [
    L.Dense(3, activation="tanh"),
    L.Conv2D(2, 3, padding="same", activation="leaky_relu"),
    L.Conv2D(4, 3, strides=2, groups=2, use_bias=False),
    L.BatchNormalization(),
    L.BatchNormalization(scale=False, center=False),
    L.Rescaling(-2.0, offset=1.0),
    L.EinsumDense("bhwc,hwc->bhwc", (4, 4, 2), bias_axes="hwc"),
    L.Normalization(mean=[0.1, 0.2], variance=[0.3, 0.4]),
    L.LeakyReLU(0.2),
    L.ELU(),
    L.MaxPooling2D(2, 1, "same"),
    L.AveragePooling2D(2, 2),
    L.GlobalAveragePooling2D(),
    L.GlobalMaxPooling2D(),
    L.ZeroPadding2D(1),
    L.UpSampling2D(2, interpolation="bilinear"),
    L.Activation("softplus"),
]


@pytest.mark.parametrize("layer", REACHED, ids=lambda layer: layer.name)
def test_of_one_layer_some_image_reaches_them(layer):
    """The corner to which its gradient points; where it is 0, a maximum may take over."""
    net = disturbed(keras.Sequential([keras.Input((4, 4, 2)), layer, L.Flatten()]))
    x = RNG.uniform(0.2, 0.8, (1, 4, 4, 2)).astype("float32")
    least, most = map(np.asarray, logit_bounds(Net(net), x - EPS, x + EPS))
    for unit in range(0, most.shape[1], 3):
        slope = np.asarray(
            value_and_grad(lambda v, k=unit: (net(v, training=False)[:, k], None), ops.convert_to_tensor(x))[
                2
            ]
        )
        for sign, bound in ((1, most), (-1, least)):
            z = np.asarray(net(x + sign * EPS * np.where(slope < 0, -1, 1), training=False))
            assert z[0, unit] == pytest.approx(bound[0, unit], abs=2e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_half_precision_bounds_are_in_float32(precision):
    net = disturbed(
        of(L.Conv2D(3, 3), L.MaxPooling2D(), L.Conv2D(3, 2), L.BatchNormalization(), L.Flatten(), L.Dense(3))
    )
    low, high = around(X, EPS)
    want = np.asarray(margin_bounds(Net(net), low, high, Y))
    with computing_in(net, precision):
        found = margin_bounds(Net(net), low, high, Y)
    assert "float32" in str(found.dtype)
    np.testing.assert_allclose(found, want, rtol=0.05, atol=0.05 * np.abs(want).max())


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


class Identity(L.Layer):
    """Not Keras' layer of this name."""

    def call(self, x):
        return -3 * x


class Standardised(L.Conv2D):
    def call(self, x):
        return super().call(x) / ops.std(self.kernel)


def relu(x):
    return -x


def shared():
    inputs = keras.Input((8, 8, 1))
    dense = L.Dense(3)
    return keras.Model(inputs, dense(L.Reshape((3,))(dense(L.Flatten()(inputs[:, :1, :3])))))


def training():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, L.Dense(3)(L.Flatten()(L.BatchNormalization()(inputs, training=True))))


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (subtracting, "Subtract"),
        (lambda: of(L.Flatten(), L.LayerNormalization(), L.Dense(3)), "LayerNormalization"),
        (lambda: of(L.Flatten(), L.Dense(4, "softmax"), L.Dense(3)), "softmax"),
        (lambda: of(L.Flatten(), Identity(), L.Dense(3)), "Identity"),
        (lambda: of(Standardised(2, 3), L.Flatten(), L.Dense(3)), "Standardised"),
        (lambda: of(L.Flatten(), L.Dense(4, relu), L.Dense(3)), "relu"),
        (lambda: of(L.Flatten(), L.Dense(4, L.LeakyReLU()), L.Dense(3)), "leaky"),
        (lambda: of(L.UpSampling2D(interpolation="bicubic"), L.Flatten(), L.Dense(3)), "UpSampling2D"),
        (of_numbers(lambda x: 1.0 / (x + 1.0)), "TrueDivide"),
        (of_numbers(lambda x: x * x), "Multiply"),
        (of_numbers(lambda x: x - x / 2), "Subtract"),
        (shared, "called more than once"),
        (training, "training"),
    ],
)
def test_a_layer_without_bounds_is_named(made, word):
    """Also one that only looks like a known one."""
    with pytest.raises(InvalidInput, match=word):
        margin_bounds(Net(made()), *around(X, EPS), Y)


@pytest.mark.parametrize("end", ["none", "activation", "layer"])
def test_an_adapted_model_has_the_bounds_of_its_logits(end):
    keras.utils.set_random_seed(0)
    squash = {"none": [], "activation": [], "layer": [keras.layers.Softmax()]}[end]
    dense = keras.layers.Dense(3, activation="softmax" if end == "activation" else None)
    owned = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), dense, *squash]
    )
    plain = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    plain.set_weights(owned.get_weights())
    x, y = np.random.default_rng(0).random((5, 4, 4, 1)).astype("float32"), np.zeros(5, "int32")
    found, wanted = (
        margin_bounds(Net(net), x - 0.1, x + 0.1, y) for net in (as_classifier(owned, bounds=(0, 255)), plain)
    )
    if end == "layer":  # the Dense layer is not the last one: each logit is bounded by itself
        assert (np.asarray(found) >= np.asarray(wanted) - 1e-5).all() and np.isfinite(found).all()
    else:
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def one_output(end, hidden=()):
    keras.utils.set_random_seed(2)
    squash = {"none": [], "activation": [], "layer": [L.Activation("sigmoid")]}[end]
    last = L.Dense(1, activation="sigmoid" if end == "activation" else None)
    return disturbed(keras.Sequential([keras.Input((2, 2, 1)), L.Flatten(), *hidden, last, *squash]))


@pytest.mark.parametrize("end", ["none", "activation", "layer"])
@pytest.mark.parametrize("hidden", [0, 6])
def test_what_is_certified_of_a_net_with_one_output_no_image_of_the_ball_breaks(end, hidden):
    """By all 625 images of a grid in each ball; a linear net breaks at a corner or nowhere."""
    net = as_classifier(one_output(end, [L.Dense(hidden, "relu")] if hidden else []))
    x = RNG.uniform(0.2, 0.8, (60, 2, 2, 1)).astype("float32")
    y = net.predict(x, verbose=0).argmax(1).astype("int32")
    y[:5] = 1 - y[:5]  # what is misclassified is not certified
    grid = np.stack(np.meshgrid(*[np.linspace(-0.1, 0.1, 5)] * 4), axis=-1).reshape(-1, 1, 2, 2, 1)
    near = (x + grid).reshape(-1, 2, 2, 1)
    whole = (net.predict(near, batch_size=4096, verbose=0).argmax(1).reshape(-1, 60) == y).all(0)
    image_set = classify(net, x, y, 64)
    held = certified(net, image_set, certified_check(net, "linf(eps=0.1)"), 64)
    assert whole[held].all() and 0 < held.sum() < 55
    if not hidden:
        np.testing.assert_array_equal(held, whole)
    proved = evaluate(net, x, y, [], certify="linf(eps=0.1)")["certified"]
    assert proved["accuracy"] == pytest.approx(held.mean())


def test_a_softmax_that_is_not_at_the_end_has_no_bounds():
    inputs = keras.Input((4, 4, 1))
    odd = keras.layers.Dropout(0.5)(keras.layers.Softmax()(keras.layers.Flatten()(inputs)))
    net = as_classifier(keras.Model(inputs, odd))
    with pytest.raises(InvalidInput, match="a Softmax named"):
        margin_bounds(Net(net), np.zeros((1, 4, 4, 1)), np.ones((1, 4, 4, 1)), np.zeros(1, "int32"))
