"""A small net that Manifold-Aware Training has trained on digits, and the terms of one step."""

import functools

import numpy as np
from keras import ops

from keras_adv import data, fit, noise
from keras_adv.backend import Net
from keras_adv.defenses.mat import ASCENT, MAT
from keras_adv.models import MLP
from keras_adv.optimizers import Adam

SMALL = ASCENT.replace(steps=3)


def terms_of(defense, net, x, y, **batch):
    """(terms, batch) of one step; `batch` replaces what `prepare` found."""
    nets = {"net": Net(defense.predictor(net))}
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    seed = noise.fold(ops.cast(0, "uint32"), 1)
    batch = {"x": x, "y": y, **defense.prepare(nets, x, y, seed), **batch}
    return {k: np.asarray(v) for k, v in defense._loss(nets, batch).items()}, batch


@functools.cache
def trained_net():
    digits = data.load("digits")
    net = MLP(units=(64,)).build(digits.shape, digits.classes)
    defense = MAT(attack=SMALL, optimizer=Adam(learning_rate=5e-3))
    return fit.defend(net, defense, *digits.train, epochs=6, batch_size=60, verbose=0)
