"""A second, slow writing of adversarial weight perturbation (AWP), from its text alone.

Wu et al. (arXiv:2004.05884), algorithm 1 with A = 1 and K2 = 1, as in the paper's experiments. A "layer" is
a weight of more than one axis: the authors' code leaves biases, and the scales and shifts of batch
normalisation, where they are. It finds v on a copy of the net, which is in training mode, so that the net's
own statistics know nothing of that pass; the pass at w + v moves them.
"""

import contextlib

import numpy as np
import tensorflow as tf

from tests.transcriptions.mat import cross_entropy, trades_terms, value_and_gradients
from tests.transcriptions.twins import statistics


def at_terms(model, x, y, x_adv, training=True):
    """The loss of AT-AWP: cross-entropy at x', and nothing of x."""
    del x
    z_adv = model(x_adv, training=training)
    return {"ce": [cross_entropy(z_adv[i], y[i]) for i in range(len(y))]}


def trades_loss_terms(model, x, y, x_adv, beta, training=True):
    """The loss of TRADES-AWP: CE(p(x), y) + beta KL(p(x) || p(x')); both p learn."""
    return trades_terms(model, x, y, x_adv, 1 / beta, training)


def l2(array):
    squares = 0.0
    for value in np.ravel(array):
        squares += value * value
    return np.sqrt(squares)


def total_gradient(model, terms_of):
    """The gradient by every weight of the batch's mean of the sum of the terms."""
    with tf.GradientTape() as tape:
        loss = sum(sum(values) / len(values) for values in terms_of().values())
    return [g.numpy() for g in tape.gradient(loss, [w.value for w in model.trainable_variables])]


def shift(model, terms_of, gamma):
    """v after one step from 0, as long as |v_l| <= gamma |w_l| allows in every layer l.

    v_l = gamma |w_l| g_l / |g_l|, where g is the gradient of the loss that training lowers: v raises it.
    `terms_of()`: the loss's terms at x', which is held.
    """
    steps = []
    for w, g in zip(model.trainable_variables, total_gradient(model, terms_of), strict=True):
        w = w.numpy()
        steps.append(gamma * l2(w) * g / l2(g) if w.ndim > 1 else np.zeros_like(w))
    return steps


@contextlib.contextmanager
def moved(model, v):
    """The net at w + v, and back, with what it stored."""
    kept = model.get_weights()
    for w, step in zip(model.trainable_variables, v, strict=True):
        w.assign(w.numpy() + step)
    yield
    model.set_weights(kept)


def terms_and_gradients(model, terms_of, v):
    """{term: (values by image, gradients of their mean)} at w + v; that is the gradient by w, for v is a
    number."""
    with moved(model, v):
        return value_and_gradients(terms_of, [w.value for w in model.trainable_variables])


def descend(model, terms_of, v, rate):
    """The weights after a step of plain gradient descent: (w + v) - rate grad L(w + v) - v."""
    with moved(model, v):
        slopes = total_gradient(model, terms_of)
        there = [w.numpy() for w in model.trainable_variables]
    return [(w - rate * g) - step for w, g, step in zip(there, slopes, v, strict=True)]


def statistics_after(model, v, x):
    """The stored means and variances after one pass of x in training mode at w + v."""
    with moved(model, v):
        model(x, training=True)
        return statistics(model)
