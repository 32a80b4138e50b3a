"""What is compiled for a model is shared between radii and weights, and goes with the model."""

import gc
import weakref

import keras
import numpy as np

from keras_adv import attack
from keras_adv.evaluation import compiled


def small(digits):
    inputs = keras.Input(digits.shape)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))


def test_radii_share_what_is_compiled(net, digits):
    x, y = (part[:8] for part in digits.test)
    attack(net, x, y, "fgsm(threat=linf(eps=0.1))")
    known = len(compiled._known[net])
    for eps in (0.05, 0.2):
        attack(net, x, y, f"fgsm(threat=linf(eps={eps}))")
    assert len(compiled._known[net]) == known


def test_new_weights_are_seen_by_what_is_compiled(digits):
    model, x = small(digits), digits.test[0][:8]
    for label in (3, 7):
        kernel, bias = np.zeros((64, 10), "float32"), np.zeros(10, "float32")
        bias[label] = 5.0
        model.layers[-1].set_weights([kernel, bias])
        assert attack(model, x, np.full(8, label), "fgsm()").clean.all()


def test_a_model_is_not_kept_alive_by_what_was_compiled_for_it(digits):
    model, x = small(digits), digits.test[0][:8]
    attack(model, x, model.predict(x, verbose=0).argmax(1), "fgsm()")
    gone = weakref.ref(model)
    del model
    keras.utils.clear_session(free_memory=False)
    gc.collect()
    assert gone() is None
