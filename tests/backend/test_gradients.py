import os
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_adv import backend
from keras_adv.backend import (
    DYNAMIC_BATCH_SIZE,
    FrozenNet,
    Net,
    chosen_grad,
    compile,
    jacobian,
    value_and_grad,
)
from keras_adv.losses import cross_entropy


def test_input_gradient_equals_finite_differences(smooth):
    rng = np.random.default_rng(1)
    x, y = rng.random((3, 4, 4, 1)).astype("float32"), np.array([0, 1, 2])
    net = Net(smooth)
    values, aux, g = value_and_grad(lambda v: (cross_entropy(net.logits(v), y), v + 1), x)
    np.testing.assert_allclose(aux, x + 1)
    d = rng.normal(size=x.shape).astype("float32")
    up, down = (np.asarray(cross_entropy(net.logits(x + t * d), y), "float64") for t in (1e-2, -1e-2))
    np.testing.assert_allclose((np.asarray(g) * d).sum((1, 2, 3)), (up - down) / 2e-2, rtol=1e-2, atol=1e-4)
    assert np.asarray(values).shape == (3,)


def test_jacobian_of_a_linear_model_is_its_matrix(linear, grey):
    model, w, _ = linear
    x, _ = grey
    z, jac = jacobian(Net(model).logits, x)
    np.testing.assert_allclose(z, model.predict(x, verbose=0), atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(jac).reshape(len(x), 5, 64), np.tile(w.T, (len(x), 1, 1)), atol=1e-5
    )


def test_a_jacobian_of_many_outputs_is_the_same_in_both_orders(many_outputs):
    """It is a loop there, which is written out for few outputs."""
    model, x = many_outputs
    net, few = Net(model), Net(keras.Model(model.inputs, model.output[:, :6]))
    outputs, rows = jacobian(net.logits, x)
    want = jacobian(few.logits, x)[1]
    assert rows.shape == (5, 30, 4, 4, 1) and outputs.shape == (5, 30)
    np.testing.assert_allclose(np.asarray(rows)[:, :6], want, atol=1e-6)

    def length(of, v):
        return ops.sum(ops.square(jacobian(of.logits, v)[1][:, :6]), axis=(1, 2, 3, 4)), None

    second = [value_and_grad(lambda v, of=of: length(of, v), x)[2] for of in (net, few)]
    np.testing.assert_allclose(second[0], second[1], atol=1e-5)


@pytest.fixture
def many_outputs():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    hidden = keras.layers.Dense(8, "tanh")(keras.layers.Flatten()(inputs))
    x = np.random.default_rng(0).random((5, 4, 4, 1)).astype("float32")
    return keras.Model(inputs, keras.layers.Dense(30)(hidden)), ops.convert_to_tensor(x)


def test_the_chosen_gradient_is_that_of_the_mixture_in_both_orders(smooth):
    """The choice sees values and Jacobian and is a constant: the mixture alone is differentiated again."""
    x = ops.convert_to_tensor(np.random.default_rng(1).random((3, 4, 4, 1)).astype("float32"))
    weights = [ops.convert_to_tensor(v) for v in smooth.trainable_variables]
    z, jac = jacobian(Net(smooth).logits, x)
    seen = {}

    def choose(outputs, aux, slopes):
        seen.setdefault("args", (outputs, aux, slopes))
        return outputs + ops.sum(slopes, axis=(2, 3, 4))  # depends on the weights, were it not held

    def squared(net, mixed_and_slope):
        value, slope = mixed_and_slope(net)
        return value + ops.sum(ops.square(slope), axis=(1, 2, 3))

    def chosen(net):
        value, _, slope = chosen_grad(lambda v: (net.logits(v), v + 1), choose, x)
        return value, slope

    def plain(net):
        held = ops.convert_to_tensor(np.asarray(z) + np.asarray(jac).sum((2, 3, 4)))
        value, _, slope = value_and_grad(lambda v: (ops.sum(held * net.logits(v), axis=1), 0), x)
        return value, slope

    chosen(Net(smooth))
    for got, want in zip(seen["args"], (z, x + 1, jac), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    ours, reference = (
        value_and_grad(lambda w, way=way: (squared(Net(smooth).with_values(w), way), 0), weights)
        for way in (chosen, plain)
    )
    np.testing.assert_allclose(ours[0], reference[0], rtol=1e-4)
    for a, b in zip(ours[2], reference[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_unconnected_input_has_gradient_zero():
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(value_and_grad(lambda v: (ops.ones(2), 0), x)[2], 0 * x)


def test_compiled_functions_see_new_weights(fresh, digits):
    x = digits.test[0][:4]
    run = compile(FrozenNet(fresh), fresh)
    run(x)
    fresh.set_weights([0 * w for w in fresh.get_weights()])
    np.testing.assert_array_equal(run(x), np.zeros((4, 10)))


@pytest.fixture
def normed():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.BatchNormalization()(inputs)))


def test_state_moves_only_when_asked(normed):
    x = np.random.default_rng(0).normal(5, 1, (50, 4)).astype("float32")
    before = [np.array(v) for v in normed.non_trainable_variables]
    value_and_grad(lambda v: (ops.sum(Net(normed)(v, mode="untracked"), axis=1), 0), x)
    for old, new in zip(before, normed.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)
    Net(normed)(x, mode="training")
    assert np.abs(np.asarray(normed.non_trainable_variables[0])).max() > 0.01


class Twice(keras.layers.Layer):
    """In training, twice its input."""

    def call(self, inputs, training=False):
        return 2 * inputs if training else inputs


@pytest.mark.parametrize(
    ("layers", "unchanged_by_training"),
    [
        ([keras.layers.Conv2D(2, 3), keras.layers.MaxPooling2D(), keras.layers.Dropout(0.0)], True),
        ([keras.Sequential([keras.layers.Dense(2), keras.layers.LeakyReLU()])], True),
        ([keras.layers.BatchNormalization()], False),
        ([keras.layers.Dropout(0.5)], False),
        ([keras.Sequential([keras.layers.GaussianNoise(0.1)])], False),
        ([Twice()], False),
        ([keras.Sequential([Twice()])], False),
    ],
)
def test_a_net_is_steady_where_training_changes_nothing(layers, unchanged_by_training, digits):
    inputs = outputs = keras.Input(digits.shape)
    for layer in [*layers, keras.layers.Flatten(), keras.layers.Dense(3)]:
        outputs = layer(outputs)
    net, x = Net(keras.Model(inputs, outputs)), digits.test[0][:8]
    assert net.unchanged_by_training == unchanged_by_training
    same = np.allclose(net.logits(x), net.logits(x, mode="untracked"), atol=1e-6)
    assert same == unchanged_by_training


def test_torch_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    with pytest.raises(ImportError, match=r"'torch'.*KERAS_BACKEND=tensorflow \(or jax\)"):
        runpy.run_path(backend.__file__)


@pytest.mark.slow
def test_importing_the_package_on_torch_says_the_same():
    code = "import sys, types\nimport keras\nkeras.config.backend = lambda: 'torch'\nimport keras_adv\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode != 0
    assert "KERAS_BACKEND=tensorflow (or jax)" in done.stderr and "'torch'" in done.stderr


def test_what_is_compiled_takes_any_batch_size():
    traces = []

    def double(x, extra, pair):
        traces.append(1)
        assert extra is None
        return 2 * x, pair["a"] + 1

    run = compile(double)
    for count in (1, 5, 8):
        twice, more = run(np.ones((count, 3), "float32"), None, {"a": np.int32(count)})
        assert np.asarray(twice).shape == (count, 3) and int(more) == count + 1
    assert len(traces) == (1 if DYNAMIC_BATCH_SIZE else 3)


def test_entries_of_a_dictionary_in_another_order_are_the_same_graph():
    traced = []

    def double(state):
        traced.append(sorted(state))
        return {name: 2.0 * value for name, value in sorted(state.items())}

    run = compile(double)
    a, b = np.ones((2, 1), "float32"), np.full((2, 3), 5, "float32")
    for state in ({"b": b, "a": a}, {"a": a, "b": b}):
        found = run(state)
        np.testing.assert_array_equal(found["a"], 2 * a)
        np.testing.assert_array_equal(found["b"], 2 * b)
    assert len(traced) == 1
