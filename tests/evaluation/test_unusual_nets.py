"""Nets that do not behave as most do: gradients and answers that are not finite, subclassed ones, other
precisions."""

import keras
import numpy as np
import pytest
from keras import ops
from sampled import sampled

import keras_adv
from keras_adv import InvalidInput, attack
from keras_adv.attacks.task import Examples, Task, as_logits
from keras_adv.backend import value_and_grad

SPEC = "pgd(threat=linf(eps=0.1), steps=5)"


@pytest.fixture
def images(digits):
    return digits.test[0][:60], digits.test[1][:60]


LEFT = (np.arange(8) < 4).astype("float32").reshape(1, 1, 8, 1)


@ops.custom_gradient
def spoiled(x):
    def backward(*args, upstream=None):
        g = args[0] if upstream is None else upstream
        return ops.where(LEFT > 0, g, np.nan)

    return x, backward


class Spoiled(keras.layers.Layer):
    """x, whose gradient is NaN by the pixels on the right."""

    def call(self, x):
        return spoiled(x)


class Half(keras.layers.Layer):
    """x, whose gradient is 0 by the pixels on the right."""

    def call(self, x):
        return LEFT * x + ops.stop_gradient((1.0 - LEFT) * x)


@pytest.mark.parametrize("spec", sampled([SPEC, "ddn(steps=20)"], SPEC))
def test_an_attack_goes_on_with_0_where_a_gradient_is_not_finite(spec, net, images):
    inputs = keras.Input(net.input_shape[1:])
    broken, half = (keras.Model(inputs, net(layer(inputs))) for layer in (Spoiled(), Half()))
    ours, want = attack(broken, *images, spec), attack(half, *images, spec)
    np.testing.assert_allclose(ours.images, want.images, atol=1e-6)
    assert (ours.success & ours.clean).any()
    flags = keras_adv.evaluate(broken, *images, spec)["flags"]
    assert any("not finite on 60 of 60" in flag for flag in flags)
    assert keras_adv.evaluate(half, *images, spec)["flags"] == []


class Brittle(keras.layers.Layer):
    """(images, logits) -> logits, not finite as soon as a pixel is not 0.5."""

    def call(self, given):
        x, logits = given
        return logits / ops.cast(x[:, 4, 4, :] == 0.5, x.dtype)


def test_an_image_without_a_finite_answer_is_broken_and_said_so(net, images):
    x, y = images[0].copy(), images[1]
    x[:, 4, 4] = 0.5
    inputs = keras.Input(net.input_shape[1:])
    model = keras.Model(inputs, Brittle()([inputs, net(inputs)]))
    assert attack(model, x, y, SPEC).success.all()
    (row,) = keras_adv.evaluate(model, x, y, SPEC)["attacks"]
    assert row["robust_accuracy"] == 0.0
    assert any("no finite answer" in flag for flag in row["flags"])


class Subclassed(keras.Model):
    def __init__(self, net):
        super().__init__()
        self.inner = net

    def call(self, x, training=False):
        return self.inner(x, training=training)


@pytest.mark.parametrize("built", sampled([True, False], False))
def test_a_subclassed_model_is_measured_as_any_other(built, net, images):
    model = Subclassed(net)
    if built:
        model(images[0][:2])
    ours, theirs = attack(model, *images, SPEC), attack(net, *images, SPEC)
    np.testing.assert_array_equal(ours.success, theirs.success)


def test_a_model_that_fails_on_the_images_is_told_why(images):
    class Wrong(keras.Model):
        def call(self, x):
            return ops.reshape(x, (-1, 7))[:, :, None] @ x

    with pytest.raises(InvalidInput, match=r"`model` must be a model of images of shape \(8, 8, 1\)"):
        attack(Wrong(), *images, SPEC)


def test_images_with_channels_first_are_refused_where_pixels_count():
    x, y = np.zeros((4, 3, 12, 12), "float32"), np.zeros(4, "int32")
    inputs = keras.Input((3, 12, 12))
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs)))
    with pytest.raises(InvalidInput, match=r"counts pixels.*looks like \(N, C, H, W\)"):
        attack(model, x, y, "pgd(threat=l0(eps=3))")
    assert attack(model, x, y, SPEC).images.shape == x.shape


def two_layers():
    inputs = keras.Input((8, 8, 1))
    hidden = keras.layers.Dense(32, "relu", name="features")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, keras.layers.Dense(10)(hidden))


@pytest.mark.slow
def test_a_net_in_float16_is_measured_as_in_float32(net, images):
    """Its gradients, of a net that is sure, would round to 0 and end the search far out."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = two_layers()
    finally:
        keras.config.set_dtype_policy("float32")
    whole = two_layers()
    keras_adv.defend(whole, "standard()", *keras_adv.data.load("digits").train, epochs=10, verbose=0)
    whole.layers[-1].set_weights([4 * w for w in whole.layers[-1].get_weights()])  # sure of everything
    half.set_weights(whole.get_weights())
    assert half.compute_dtype == "float16"
    sizes = [attack(m, *images, "ddn(steps=50)").distance.mean() for m in (whole, half)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)
    x = ops.convert_to_tensor(images[0][:20])
    examples = Examples.of_batch(x, ops.convert_to_tensor(images[1][:20].astype("int32")))
    slopes = []
    for model in (whole, half):
        task = Task(as_logits(model), examples)
        # a gradient so small is 0 in float16 unless it is scaled on its way
        slopes.append(np.asarray(value_and_grad(lambda v, t=task: (1e-7 * t.features(v), None), x)[2]))
    assert np.abs(slopes[0]).max() > 0
    np.testing.assert_allclose(slopes[1], slopes[0], rtol=0.03, atol=0.03 * np.abs(slopes[0]).max())


@pytest.fixture
def double_precision():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX has float64 only where it is enabled")
@pytest.mark.parametrize("spec", ["ddn(steps=5)", "pdpgd(steps=5)", "square(threat=linf(eps=0.1), steps=5)"])
def test_keras_set_to_float64_is_attacked_all_the_same(spec, double_precision, images):
    model = two_layers()
    assert model.compute_dtype == "float64"
    result = attack(model, *images, spec)
    assert result.images.dtype == np.float32 and keras.config.floatx() == "float64"


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX has float64 only where it is enabled")
def test_keras_set_to_float64_is_defended_all_the_same(double_precision, images):
    model = two_layers()
    defense = "critic(width=8, attack=high_confidence(steps=1, max_step=None))"
    keras_adv.defend(model, defense, *images, epochs=2, batch_size=20, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
