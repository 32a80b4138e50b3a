"""What the tests of bad input share."""

from pathlib import Path

import keras
import pytest

import keras_adv
from keras_adv import InvalidInput

K = keras.layers
HINT = "Divide images of 0..255 by 255."
TINY = "recipe(defense=standard(), model=mlp(units=(16,)), epochs=2)"


def complaint(call, *args, **kwargs):
    with pytest.raises(InvalidInput) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def classifier(top=None, shape=(8, 8, 1)):
    """A small net; `top` makes its output of the flat images."""
    inputs = keras.Input(shape)
    flat = K.Flatten()(inputs)
    return keras.Model(inputs, K.Dense(10)(flat) if top is None else top(flat))


def tree(folder):
    """Every file below `folder` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def in_the_middle(raw, change):
    """`raw` with 8 bytes in its middle changed."""
    half = len(raw) // 2
    return raw[:half] + bytes(b ^ change for b in raw[half : half + 8]) + raw[half + 8 :]


USES = {
    "attack": lambda model, x, y: keras_adv.attack(model, x, y, "fgsm()"),
    "evaluate": lambda model, x, y: keras_adv.evaluate(model, x, y, ["fgsm()"]),
    "clean accuracy": lambda model, x, y: keras_adv.evaluate(model, x, y, []),
    "defend": lambda model, x, y: keras_adv.defend(model, "standard()", x, y, epochs=1, verbose=0),
}
