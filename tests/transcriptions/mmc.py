"""A second, slow writing of Max-Mahalanobis centres (MMC), from the paper alone.

T. Pang, K. Xu, Y. Dong, C. Du, N. Chen, J. Zhu, "Rethinking softmax cross-entropy loss for adversarial
robustness", ICLR 2020 (arXiv:1905.10626). The paper's loss has a factor 1/2 that the authors' code
(P2333/Max-Mahalanobis-Training, train.py) does not have: `factor` says which is meant.

Every quantity is computed image by image and class by class; only the pass through the net takes the whole
batch, because batch normalisation looks at it while training.
"""

import numpy as np
import tensorflow as tf

from tests.transcriptions.mat import cross_entropy


def centres(length, dims, classes):
    """Algorithm 1: `classes` <= `dims` + 1 vectors of `length`, as far from one another as can be."""
    mu = np.zeros((classes, dims))
    mu[0, 0] = 1.0
    for i in range(1, classes):
        for j in range(i):
            inner = 0.0
            for d in range(dims):
                inner += mu[i, d] * mu[j, d]
            mu[i, j] = -(1 + inner * (classes - 1)) / (mu[j, j] * (classes - 1))
        if i < dims:  # with dims = classes - 1 the last vector has its length already, and no coordinate left
            mu[i, i] = np.sqrt(abs(1 - sum(v * v for v in mu[i])))  # of the last vector 0, give or take
    for k in range(classes):
        mu[k] = length * mu[k]
    return mu


def inner_products(length, classes):
    """What centres are to one another: length^2 on the diagonal, -length^2 / (classes - 1) beside it."""
    gram = np.zeros((classes, classes))
    for i in range(classes):
        for j in range(classes):
            gram[i, j] = length**2 if i == j else length**2 / (1 - classes)
    return gram


def squared_distance(z, mu):
    """|z - mu|_2^2 of one image and one centre."""
    return tf.reduce_sum((z - mu) ** 2)


def mmc(z, y, mu, factor=0.5):
    """The MMC loss of one image: 1/2 |z - mu_y|_2^2, which no softmax normalises."""
    return factor * squared_distance(z, mu[y])


def logits(z, mu):
    """The scores of one image that the authors' code returns: -|z - mu_k|_2^2 of each class k."""
    return tf.stack([-squared_distance(z, mu[k]) for k in range(len(mu))])


def prediction(z, mu):
    """The class of the nearest centre."""
    distances = [float(squared_distance(z, centre)) for centre in mu]
    return distances.index(min(distances))


def losses(features, x, y, mu, factor=0.5):
    """The loss of each image, by one pass in training mode. `features`: images -> z.

    Adversarial training (advtrain.py with its adv_ratio of 1) has the adversarial images for x, as constants,
    and learns from no others.
    """
    z = features(tf.stop_gradient(tf.constant(x)), training=True)
    return [mmc(z[i], int(y[i]), mu, factor) for i in range(len(y))]


def adaptive(kind, z, y, mu, target=None):
    """What an attack that knows the defence minimises, of one image ("adaptive attacks")."""
    if kind == "untargeted 1":
        return -mmc(z, y, mu)
    if kind == "untargeted 2":
        others = [(float(squared_distance(z, mu[k])), k) for k in range(len(mu)) if k != y]
        return mmc(z, min(others)[1], mu) - mmc(z, y, mu)
    if kind == "targeted 1":
        return mmc(z, target, mu)
    raise ValueError(kind)


def softmaxed(z, y, mu, target=None):
    """The same of an attack that takes the logits for those of a softmax: its cross-entropy."""
    if target is None:
        return -cross_entropy(logits(z, mu), y)
    return cross_entropy(logits(z, mu), target)


def descend(features, objective, x, start, eps, step, steps):
    """Signed steps down `objective`(z of one image, its number), in the max-norm ball and in [0, 1].

    The net is in inference mode, where an image's objective depends on that image alone: the gradient of the
    sum is each image's own.
    """
    images = np.array(start)
    for _ in range(steps):
        now = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(now)
            z = features(now, training=False)
            total = sum(objective(z[i], i) for i in range(len(x)))
        images = images - step * np.sign(tape.gradient(total, now).numpy())
        images = np.minimum(np.maximum(images, x - eps), x + eps)
        images = np.minimum(np.maximum(images, 0.0), 1.0)
    return images
