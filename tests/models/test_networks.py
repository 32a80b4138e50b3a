"""The networks of the papers: shapes, and what each one is said to be."""

import keras
import numpy as np
import pytest
from keras import ops
from paper_nets import CIFAR, COUNTS, MNIST, made
from sampled import sampled

from keras_adv import InvalidInput, registry
from keras_adv.backend import Net, value_and_grad
from keras_adv.losses import cross_entropy
from keras_adv.models.alexnet import AlexNet, local_response
from keras_adv.models.convnet import ConvNet
from keras_adv.models.madnet import MadNetResNet
from keras_adv.models.madry_cnn import MadryCNN
from keras_adv.models.nin import NIN
from keras_adv.models.resnet18 import ResNet18, unit_length
from keras_adv.models.small_cnn import SmallCNN
from keras_adv.models.vgg import VGG

NATIVE = [(model, shape) for model, shape, _ in COUNTS if getattr(model, "depth", 0) <= 20]
LARGE = (
    VGG(depth=16),
    ResNet18(),
    ConvNet(form="fab"),
    ConvNet(form="fab", bias=False),
    ConvNet(form="cnn7"),
)
"""Of millions of weights; another of the family is asked every time."""
SMALL = [
    (SmallCNN(dropout=0.0), (16, 16, 1)),
    (MadryCNN(hidden=32), (16, 16, 1)),
    (ConvNet(), (16, 16, 3)),
    (NIN(dropout=0.0), (8, 8, 3)),
    (VGG(width=8, batch_norm=False), (16, 16, 1)),
    (ResNet18(form="afd_mnist", normalized=True), (8, 8, 1)),
    (MadNetResNet(), (8, 8, 1)),
]


def images(shape, count=2, seed=0):
    return np.random.default_rng(seed).random((count, *shape)).astype("float32")


def run(model, x):
    return np.asarray(model(x, training=False))


def woken(model):
    """The model with its logits' weights away from zero, where SmallCNN starts."""
    kernel = model.get_layer("logits").kernel
    kernel.assign(0.1 * np.random.default_rng(5).normal(size=kernel.shape))
    return model


@pytest.mark.parametrize(
    ("model", "shape"), sampled(NATIVE, *(case for case in NATIVE if case[0] not in LARGE)), ids=str
)
def test_logits_and_features_at_the_native_size(model, shape):
    net = made(model, shape)
    features, z = keras.Model(net.inputs, [net.get_layer("features").output, net.output])(images(shape))
    assert z.shape == (2, 10) and features.shape == (2, net.get_layer("logits").kernel.shape[0])
    assert np.isfinite(np.asarray(z)).all() and np.asarray(features).std() > 0
    layer = net.get_layer("logits")
    np.testing.assert_allclose(z, np.asarray(features) @ layer.get_weights()[0], rtol=1e-3, atol=1e-4)


def test_a_spec_gives_the_same_network():
    for model, _ in SMALL:
        assert registry.parse("model", str(model)) == model


def test_a_file_gives_the_same_network_with_features_of_unit_length(tmp_path):
    shape = (8, 8, 1)
    net = made(ResNet18(form="afd_mnist", normalized=True), shape, 3)
    net.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(run(loaded, images(shape)), run(net, images(shape)), atol=1e-5)


@pytest.mark.parametrize(("model", "shape"), SMALL, ids=str)
def test_gradient_by_the_image_is_the_slope(model, shape):
    net = Net(woken(made(model, shape, 3)))
    x, y = images(shape, 3), np.array([0, 1, 2], "int32")
    slope = lambda v: value_and_grad(lambda u: (cross_entropy(net.logits(u), y), None), v)[::2]  # noqa: E731
    _, g = slope(ops.convert_to_tensor(x))
    along = np.asarray(g) / np.linalg.norm(np.asarray(g))
    step = 0.02
    there, back = (float(ops.sum(slope(ops.convert_to_tensor(x + s * along))[0])) for s in (step, -step))
    np.testing.assert_allclose((there - back) / (2 * step), np.linalg.norm(np.asarray(g)), rtol=0.05)


@pytest.mark.parametrize(("model", "shape"), SMALL, ids=str)
def test_every_weight_learns(model, shape):
    net = Net(woken(made(model, shape, 3)))
    y = np.array([0, 1, 2, 0], "int32")

    def loss(values):
        return cross_entropy(net.with_values(values).logits(images(shape, 4), mode="untracked"), y), None

    values = [ops.convert_to_tensor(v) for v in net.values]
    _, _, gradients = value_and_grad(loss, values)
    for value, gradient in zip(values, gradients, strict=True):
        assert np.isfinite(np.asarray(gradient)).all() and np.abs(np.asarray(gradient)).max() > 0, value.shape


def test_small_cnn_starts_with_equal_logits_and_other_layers_do_not():
    net = made(SmallCNN(), MNIST)
    assert (run(net, images(MNIST)) == 0).all()
    kernels = [v for v in net.trainable_variables if v.name == "kernel"]
    assert [bool(np.any(np.asarray(k))) for k in kernels] == [True] * 6 + [False]


@pytest.mark.parametrize("model", [SmallCNN(), NIN(), AlexNet(hidden=16)], ids=str)
def test_dropout_is_on_in_training_only(model):
    shape = (64, 64, 1)
    net = woken(made(model, shape, 3))
    x = images(shape)
    np.testing.assert_array_equal(run(net, x), run(net, x))
    assert not np.allclose(np.asarray(net(x, training=True)), np.asarray(net(x, training=True)))
    bare = model.replace(dropout=0.0).build(shape, 3)
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in bare.layers)


def test_nin_logits_are_the_mean_of_a_last_one_by_one_convolution():
    net = made(NIN(), CIFAR)
    maps = keras.Model(net.inputs, net.get_layer("features").input)(images(CIFAR))
    kernel, bias = net.get_layer("logits").get_weights()
    last = np.einsum("bhwc,ck->bhwk", np.asarray(maps), kernel) + bias
    assert last.shape == (2, 8, 8, 10)
    np.testing.assert_allclose(run(net, images(CIFAR)), last.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_convnet_features_are_a_four_by_four_convolution():
    net = made(ConvNet(), CIFAR)
    flat = keras.Model(net.inputs, net.get_layer("features").input)(images(CIFAR))
    maps = np.asarray(flat).reshape(2, 4, 4, 64)
    kernel, bias = net.get_layer("features").get_weights()
    valid = ops.conv(maps, kernel.reshape(4, 4, 64, 64), padding="valid")
    features = keras.Model(net.inputs, net.get_layer("features").output)(images(CIFAR))
    np.testing.assert_allclose(
        features, np.maximum(np.asarray(valid)[:, 0, 0] + bias, 0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("side", [16, 28, 32])
def test_vgg_ends_in_one_pixel(side):
    net = made(VGG(width=2), (side, side, 1))
    assert net.get_layer("features").input.shape[1:] == (1, 1, 16)


def test_afd_net_ends_in_one_pixel_and_its_features_may_have_unit_length():
    net = made(ResNet18(form="afd_mnist", normalized=True), MNIST)
    last = [layer for layer in net.layers if isinstance(layer, keras.layers.ReLU)][-1]
    assert last.output.shape[1:] == (1, 1, 64)
    features = keras.Model(net.inputs, net.get_layer("features").output)(images(MNIST))
    np.testing.assert_allclose(np.linalg.norm(np.asarray(features), axis=1), 1, rtol=1e-5)


def test_unit_length_at_zero_has_a_finite_gradient():
    x = ops.convert_to_tensor(np.array([[0.0, 0.0], [3.0, 4.0]], "float32"))
    out, _, g = value_and_grad(lambda v: (ops.sum(unit_length(v), axis=1), None), x)
    np.testing.assert_allclose(out, [0, 1.4], rtol=1e-6)
    assert np.isfinite(np.asarray(g)).all()
    np.testing.assert_allclose(g[1], [4 / 125, -3 / 125], rtol=1e-4)  # (1 - u u^T) 1 / ||x||


def test_resnet18_strides_pad_both_sides_as_pytorch_does():
    net = ResNet18(form="afd_mnist").build((4, 4, 1), 3)
    x = images((4, 4, 1))
    stem = next(layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D))
    out = np.asarray(keras.Model(net.inputs, stem.output)(x))
    corner = np.einsum("bhw,hwf->bf", x[:, :2, :2, 0], stem.get_weights()[0][1:, 1:, 0])
    assert out.shape == (2, 2, 2, 16)
    np.testing.assert_allclose(out[:, 0, 0], corner, rtol=1e-5, atol=1e-6)


def test_madnet_without_its_residues_is_the_stem_with_parameter_free_shortcuts():
    net = MadNetResNet().build((8, 8, 1), 3)
    convolutions = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions[2::2]:  # the second of each block
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    x = images((8, 8, 1))

    def act(v):
        return np.where(v > 0, v, 0.1 * v) / np.sqrt(1 + 1e-3)

    h = act(np.asarray(keras.Model(net.inputs, convolutions[0].output)(x)))
    for more in (8, 16):
        h = h.reshape(2, h.shape[1] // 2, 2, h.shape[2] // 2, 2, -1).mean((2, 4))
        h = np.pad(h, [(0, 0), (0, 0), (0, 0), (more, more)])
    features = keras.Model(net.inputs, net.get_layer("features").output)(x)
    np.testing.assert_allclose(features, act(h).mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_local_response_is_caffes():
    x = images((2, 2, 7), seed=3) * 50
    out = np.asarray(local_response(x))
    by_hand = np.empty_like(x)
    for c in range(7):
        near = x[..., max(c - 2, 0) : c + 3]
        by_hand[..., c] = x[..., c] / (1 + 1e-4 / 5 * (near**2).sum(-1)) ** 0.75
    np.testing.assert_allclose(out, by_hand, rtol=1e-5)


def test_caffes_alexnet_runs_and_its_groups_do_not_mix(tmp_path):
    net = AlexNet(form="caffe", hidden=8).build((67, 67, 3), 3)
    second = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)][1]
    assert second.kernel.shape == (5, 5, 48, 256)
    x = images((67, 67, 3))
    net.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", compile=False, safe_mode=True)
    np.testing.assert_allclose(run(loaded, x), run(net, x), atol=1e-5)
    assert np.isfinite(run(net, x)).all()


@pytest.mark.parametrize(
    ("model", "side"), [(SmallCNN(), 15), (ConvNet(form="fab"), 30), (AlexNet(), 62)], ids=str
)
def test_smallest_images(model, side):
    with pytest.raises(ValueError, match=f"at least {side + 1}x{side + 1} pixels"):
        model.build((side, side, 1), 3)
    model.build((side + 1, side + 1, 1), 3)


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="`pool` must be 2 for form 'fab'"):
        ConvNet(form="fab", pool=3)
    with pytest.raises(ValueError, match=r"`width` is for form 'cnn7' alone\. Received: width=32"):
        ConvNet(width=32)
    with pytest.raises(ValueError, match="`depth` must be one of"):
        VGG(depth=12)


@pytest.mark.parametrize(
    "spec", ["resnet18(form='afd_mnist', activation='silu')", "wrn(depth=10, width=1, activation='silu')"]
)
def test_silu_takes_the_place_of_every_relu(spec):
    smooth = registry.parse("model", spec)
    nets = [made.build((28, 28, 1), 3) for made in (smooth, smooth.replace(activation="relu"))]
    kinds = [[type(layer).__name__ for layer in net.layers] for net in nets]
    assert "ReLU" not in kinds[0] and [k.replace("ReLU", "Activation") for k in kinds[1]] == kinds[0]
    assert all(
        n.activation is keras.activations.silu
        for n in nets[0].layers
        if hasattr(n, "activation") and n.name != "logits" and not isinstance(n, keras.layers.Conv2D)
    )


@pytest.mark.parametrize(
    "spec", ["resnet18(form='imagenet', activation='silu')", "wrn(slope=0.1, activation='silu')"]
)
def test_activations_that_do_not_go_with_the_rest_are_refused(spec):
    with pytest.raises(InvalidInput, match=r"`(activation|slope)` must be"):
        registry.parse("model", spec)
