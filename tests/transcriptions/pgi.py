"""A second, slow writing of fast adversarial training with prior-guided starts (FGSM-MEP).

X. Jia et al., "Prior-Guided Adversarial Initialization for Fast Adversarial Training", ECCV 2022
(arXiv:2207.08859), as the authors' code has it (jiaxiaojunQAQ/FGSM-PGI, FGSM_MEP.py): what is kept for each
image, and the loss. Crafting runs the net in inference mode, theirs in training mode. Their momentum
divides each gradient by its sum over the batch, here its mean: a factor that is the same in all batches of
one size, of which only the sign counts.
"""

import numpy as np
import tensorflow as tf


def smoothed(y, classes, factor):
    """`factor` for the class, what is left in equal parts for the others."""
    table = np.full((len(y), classes), (1 - factor) / (classes - 1))
    for row, label in enumerate(y):
        table[row, label] = factor
    return table


def entropy(z, target):
    """-sum target log softmax(z), (B,)."""
    return -tf.reduce_sum(target * tf.nn.log_softmax(z, axis=1), axis=1)


def clamp(value, low, high):
    return np.minimum(np.maximum(value, low), high)


def step(model, x, target, delta, momentum, eps, alpha, decay):
    """(x', the start of the next epoch, its momentum) from a start and a momentum."""
    at = tf.constant(x + delta)
    with tf.GradientTape() as tape:
        tape.watch(at)
        loss = tf.reduce_mean(entropy(model(at, training=False), target))
    slope = tape.gradient(loss, at).numpy()
    momentum = slope / np.abs(slope).mean() + decay * momentum

    def moved(direction):
        found = clamp(delta + alpha * np.sign(direction), -eps, eps)
        return clamp(found, 0.0 - x, 1.0 - x)

    return x + moved(slope), moved(momentum), momentum


def losses(model, start, moved, target, weight):
    """Of each image, both passes in training mode, the start's first; nothing is held constant."""
    before, after = model(tf.constant(start), training=True), model(tf.constant(moved), training=True)
    return entropy(after, target), weight * tf.reduce_mean((after - before) ** 2, axis=1)
