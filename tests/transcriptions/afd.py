"""A second, slow writing of Adversarial Feature Desensitization (AFD), from its text alone.

E is the encoder, Dc the linear decoder, Da(h, y) the judge: high means "natural". S is softplus. Algorithm 1
prints softmax(-Dc(...)); the minus is a slip, cross-entropy of softmax(Dc(...)) is meant. The passes through
nets take the whole batch, for batch normalisation looks at it; the rest goes image by image.
"""

import numpy as np
import tensorflow as tf


def softplus(a):
    """log(1 + exp(a)), so written that it neither overflows nor loses its gradient."""
    return a + tf.math.log1p(tf.exp(-a)) if a > 0 else tf.math.log1p(tf.exp(a))


def relu(a):
    return a if a > 0 else 0.0 * a


def log_softmax_at(z, label):
    top = tf.reduce_max(z)
    total = 0.0
    for k in range(z.shape[0]):
        total = total + tf.exp(z[k] - top)
    return z[label] - top - tf.math.log(total)


def leaky(values, slope=0.2):
    return tf.where(values > 0, values, slope * values)


def affine(matrix, bias, h):
    """y_j = sum_i h_i matrix_ij + bias_j, as Keras stores its kernels."""
    return tf.stack([tf.reduce_sum(h * matrix[:, j]) + bias[j] for j in range(matrix.shape[1])])


def singular(matrix, u):
    """sigma = u W v for the v that belongs to a vector u; neither vector carries a gradient."""
    w = matrix.numpy()
    u = np.reshape(u, -1)
    v = u @ w.T
    v = v / np.linalg.norm(v)
    u = v @ w
    u = u / np.linalg.norm(u)
    return tf.reduce_sum(tf.constant(np.outer(v, u)) * matrix)


def judge(h, label, dense, table):
    """Da: two hidden layers with leaky ReLU of slope .2, a linear head, and the product with a row of a
    table.

    `dense`: three pairs (matrix, bias) and `table` (classes, width), all already divided by their singular
    value.
    """
    hidden = leaky(affine(*dense[0], h))
    hidden = leaky(affine(*dense[1], hidden))
    return affine(*dense[2], hidden)[0] + tf.reduce_sum(table[label] * hidden)


def classification(encoder, decoder, x, y, training=True):
    """L_EDc of algorithm 1: cross-entropy of the clean images. Trains theta and phi."""
    z = decoder(encoder(x, training=training), training=training)
    return [-log_softmax_at(z[i], y[i]) for i in range(len(y))]


def judge_loss(encoder, da, x, y, x_adv, form="softplus", training=True):
    """L_Da of algorithm 1. Trains psi alone: the features come as numbers."""
    h = tf.stop_gradient(encoder(x, training=training))
    h_adv = tf.stop_gradient(encoder(x_adv, training=training))
    real, fake = da(h, y), da(h_adv, y)
    losses = []
    for i in range(len(y)):
        if form == "softplus":
            losses.append(softplus(-real[i]) + softplus(fake[i]))
        elif form == "hinge":
            losses.append(relu(1 - real[i]) + relu(1 + fake[i]))
        else:  # Wasserstein, without the gradient penalty, whose weight is 0 in the later paper's code
            losses.append(fake[i] - real[i])
    return losses


def gradient_penalty(encoder, da, x, y, x_adv, mix, training=True):
    """(|grad_h Da| - 1)^2 between the features of x and x'; `mix`: one number in [0, 1] for every image."""
    h = tf.stop_gradient(encoder(x, training=training))
    h_adv = tf.stop_gradient(encoder(x_adv, training=training))
    between = tf.stack([mix[i] * h[i] + (1 - mix[i]) * h_adv[i] for i in range(len(y))])
    with tf.GradientTape() as tape:
        tape.watch(between)
        total = sum(da(between, y)[i] for i in range(len(y)))
    slope = tape.gradient(total, between)
    return [(tf.sqrt(tf.reduce_sum(slope[i] ** 2)) - 1) ** 2 for i in range(len(y))]


def encoder_loss(encoder, da, x, y, x_adv, form="softplus", symmetric=False, training=True):
    """L_E of algorithm 1: the non-saturating loss of a generator. Trains theta alone.

    `symmetric` adds the clean images with the sign turned, which the later paper's code has commented out.
    """
    fake = da(encoder(x_adv, training=training), y)
    losses = [softplus(-fake[i]) if form == "softplus" else -fake[i] for i in range(len(y))]
    if symmetric:
        real = da(encoder(x, training=training), y)
        for i in range(len(y)):
            losses[i] = losses[i] + (softplus(real[i]) if form == "softplus" else real[i])
    return losses


def sensitivity(encoder, x, x_adv, training=True):
    """S_e of the paper's comparison ("Adversarial vs. L2 optimization"): |E(x) - E(x')|, not squared."""
    h, h_adv = encoder(x, training=training), encoder(x_adv, training=training)
    losses = []
    for i in range(len(x)):
        total = 0.0
        for j in range(h.shape[1]):
            total = total + (h[i, j] - h_adv[i, j]) ** 2
        losses.append(tf.sqrt(total))
    return losses


def value_and_gradients(losses_of, weights):
    """(values by image, gradients of their mean by the weights); a weight out of the graph has None."""
    with tf.GradientTape() as tape:
        losses = losses_of()
        mean = sum(losses) / len(losses)
    return np.array([float(v) for v in losses]), tape.gradient(mean, weights)
