"""What is compiled belongs to what the net computes now, and an image's answer is its own."""

import keras
import numpy as np
import pytest
from keras import ops
from sampled import sampled

from keras_adv import InvalidInput, attack
from keras_adv.evaluation import compiled

SPEC = "pgd(threat=linf(eps=0.1), steps=5)"


class Switch(keras.layers.Layer):
    """Bends the images, or does not; a gradient may not pass."""

    def __init__(self):
        super().__init__()
        self.on, self.strength, self.bend, self.shut = False, 1.0, ops.square, False

    def call(self, x):
        x = self.strength * self.bend(x) if self.on else x
        return ops.stop_gradient(x) if self.shut else x


@pytest.fixture
def images(digits):
    return digits.test[0][:60], digits.test[1][:60]


@pytest.fixture
def switched(net):
    inputs, switch = keras.Input(net.input_shape[1:]), Switch()
    return keras.Model(inputs, net(switch(inputs))), switch


def turn_on(model, switch):
    switch.on = True


def another_strength(model, switch):
    switch.on, switch.strength = True, 0.5


def another_function(model, switch):
    switch.on, switch.bend = True, ops.sqrt


def no_gradient(model, switch):
    switch.shut = True


@pytest.mark.parametrize(
    "change",
    sampled([turn_on, another_function, another_strength, no_gradient], turn_on),
)
def test_a_net_whose_layer_was_changed_is_attacked_as_it_is_now(change, switched, net, images):
    model, switch = switched
    attack(model, *images, SPEC)
    change(model, switch)
    other = Switch()
    other.on, other.strength, other.bend, other.shut = switch.on, switch.strength, switch.bend, switch.shut
    inputs = keras.Input(net.input_shape[1:])
    anew = attack(keras.Model(inputs, net(other(inputs))), *images, SPEC)
    again = attack(model, *images, SPEC)
    np.testing.assert_array_equal(again.clean, anew.clean)
    np.testing.assert_array_equal(again.success, anew.success)


def test_an_activation_put_in_place_of_another_is_seen(images):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    first = attack(model, *images, SPEC)
    model.layers[-1].activation = ops.negative
    assert (attack(model, *images, SPEC).clean != first.clean).any()


def test_what_no_attribute_tells_is_told_by_the_answers(images):
    """A function that reads something from outside: only its values have changed."""
    outside = {"sign": 1.0}
    inputs = keras.Input((8, 8, 1))
    turned = keras.layers.Lambda(lambda z: outside["sign"] * z)
    logits = keras.layers.Dense(10)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, turned(logits))
    before = attack(model, *images, SPEC)
    known = compiled._known[model]
    outside["sign"] = -1.0
    after = attack(model, *images, SPEC)
    assert compiled._known[model] is not known and (before.clean != after.clean).any()


def test_a_net_left_alone_is_compiled_once(net, images):
    attack(net, *images, SPEC)
    known = compiled._known[net]
    net.predict(images[0], verbose=0)
    attack(net, *images, SPEC)
    assert compiled._known[net] is known


def test_what_is_compiled_is_bounded_and_the_last_used_stays(net, images, monkeypatch):
    attack(net, *images, SPEC)
    monkeypatch.setattr(compiled, "MOST", 3)
    for number in range(4):
        compiled._once(net, f"spec {number}", object)
        kept = compiled._once(net, "spec 0", object)
    assert len(compiled._known[net]) == 3 and compiled._once(net, "spec 0", object) is kept


def test_a_net_that_looks_at_its_batch_is_refused(images):
    inputs = keras.Input((8, 8, 1))
    centred = keras.layers.Lambda(lambda v: v - ops.mean(v, axis=0, keepdims=True))
    flat = keras.layers.Flatten()(centred(inputs))
    model = keras.Model(inputs, keras.layers.Dense(10)(flat))
    with pytest.raises(InvalidInput, match="`model` must answer for each image alone"):
        attack(model, *images, SPEC)


class KerasNoise(keras.layers.Layer):
    """Draws from Keras' global seed."""

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), 0.0, 0.2)


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="JAX refuses such a layer itself")
def test_a_net_that_draws_from_keras_global_seed_is_told_where_to_draw(net, images):
    inputs = keras.Input((8, 8, 1))
    with pytest.raises(InvalidInput, match="SeedGenerator of its own"):
        attack(keras.Model(inputs, net(KerasNoise()(inputs))), *images, SPEC)
