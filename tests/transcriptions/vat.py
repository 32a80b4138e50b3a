"""A second, slow writing of virtual adversarial training (VAT), from its text alone.

Miyato et al. (arXiv:1704.03976); equation numbers are those of the thesis, which prints the loss as 2.23 and
the problem of r as 2.24. As in mat.py only the passes through the net take the whole batch.

The paper says nothing of batch normalisation. The authors' code (vat_tf) passes x and x + r each by the
statistics of its own batch, in the loss and in the search of r, and keeps the statistics of the pass of x
alone.
"""

import numpy as np
import tensorflow as tf

from tests.transcriptions.mat import cross_entropy, kl, log_softmax


def unit(d):
    """One image's direction divided by its l2 norm. (The code divides by max |d| before; that cancels.)"""
    flat = d.ravel()
    total = 0.0
    for j in range(len(flat)):
        total += flat[j] ** 2
    return d / np.sqrt(total)


def slope(model, x, r, training):
    """The gradient by r of D(r, x) = KL(p(x) || p(x + r)), summed over the batch; p(x) is a number."""
    z = tf.stop_gradient(model(x, training=training))
    r = tf.constant(r)
    with tf.GradientTape() as tape:
        tape.watch(r)
        shifted = model(x + r, training=training)
        total = sum(kl(z[i], shifted[i]) for i in range(len(x)))
    return tape.gradient(total, r).numpy()


def virtual(model, x, start, xi, eps, iterations=1, training=False):
    """r of eq. 2.24 by the paper's power iteration, from directions `start` that are drawn at random.

    For one iteration: eps g / |g| for g the slope at r = xi d.
    """
    d = [unit(one) for one in start]
    for _ in range(iterations):
        g = slope(model, x, np.stack([xi * one for one in d]), training)
        d = [unit(one) for one in g]
    return np.stack([eps * one for one in d])


def curvature(model, image):
    """H of the paper, the Hessian of D in r at 0, for one image and the net in inference.

    The Hessian of KL in the logits, at the logits themselves, is diag(p) - p p'; with J the Jacobian of the
    logits, H = J' (diag(p) - p p') J: no term of second derivatives of the net, for the slope at 0 is 0.
    """
    point = tf.constant(image[None])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(point)
        z = model(point, training=False)[0]
        each = [z[k] for k in range(z.shape[0])]
    jacobian = np.stack([tape.gradient(one, point).numpy().ravel() for one in each])
    p = np.exp([float(v) for v in log_softmax(z)])
    return jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian


def divergences(model, x, r):
    """D(r, x) of each image, in inference."""
    z, shifted = model(x, training=False), model(x + r, training=False)
    return np.array([float(kl(z[i], shifted[i])) for i in range(len(x))])


def vat_terms(model, x, y, r, alpha, training=True):
    """Eq. 2.23, image by image, with the paper's weight alpha. p(x) is of theta-hat, "the current estimate":
    no gradient. r is found before, and is a number."""
    z = model(x, training=training)
    shifted = model(x + r, training=training)
    fixed = tf.stop_gradient(z)
    terms = {"ce": [], "kl": []}
    for i in range(len(y)):
        terms["ce"].append(cross_entropy(z[i], y[i]))
        terms["kl"].append(alpha * kl(fixed[i], shifted[i]))
    return terms
