"""A second, slow writing of Manifold-Aware Training (MAT) and of TRADES, from their texts alone.

Equation numbers are those of "Manifold-aware training" (ICLR 2021 submission mOO-LfEVZK).
Nothing is vectorised but the passes through the net: batch normalisation looks at the whole batch, so that an
image cannot be passed alone while training. Every other quantity is computed image by image.
"""

import numpy as np
import tensorflow as tf


def centres(classes, dims, length=1.0):
    """Eq. 3: the vertices of a simplex, by the recursion of Pang et al. (2018). dims >= classes."""
    m = np.zeros((classes, dims))
    m[0, 0] = 1.0
    for k in range(1, classes):
        for j in range(k):
            m[k, j] = -(1 / (classes - 1) + m[k] @ m[j]) / m[j, j]
        m[k, k] = np.sqrt(abs(1 - m[k] @ m[k]))
    return length * m


def dot(a, b):
    total = 0.0
    for j in range(a.shape[0]):
        total = total + a[j] * b[j]
    return total


def norm(a):
    return tf.sqrt(dot(a, a))


def cosine_distance(a, b):
    """CD of section 3.1."""
    return 1.0 - dot(a, b) / (norm(a) * norm(b))


def ftc(phi, mu):
    """Eq. 4: the distance of a feature to the centre of its class."""
    return cosine_distance(phi, mu)


def so(phi, mu):
    """Eq. 6 with the gradient written out as in eq. 7, coordinate by coordinate."""
    cosine = dot(phi, mu) / (norm(phi) * norm(mu))
    total = 0.0
    for j in range(phi.shape[0]):
        bracket = mu[j] / norm(mu) - cosine * phi[j] / norm(phi)
        total = total + (-bracket / norm(phi)) ** 2
    return total


def bibo(phi, phi_adv):
    """Eq. 8 at the x' that was found: both features move with the weights, x' does not."""
    return cosine_distance(phi, phi_adv)


def mat_terms(features, x, y, x_adv, mu, alpha, beta, training=True):
    """Eq. 9, image by image: the three terms with their weights in them. `features`: images -> phi."""
    phi = features(x, training=training)
    phi_adv = features(x_adv, training=training)
    mu = tf.constant(mu, phi.dtype)
    terms = {"ftc": [], "so": [], "bibo": []}
    for i in range(len(y)):
        terms["ftc"].append(ftc(phi[i], mu[y[i]]))
        terms["so"].append(alpha * so(phi[i], mu[y[i]]))
        terms["bibo"].append(beta * bibo(phi[i], phi_adv[i]))
    return terms


def log_softmax(z):
    top = tf.reduce_max(z)
    total = 0.0
    for k in range(z.shape[0]):
        total = total + tf.exp(z[k] - top)
    return [z[k] - top - tf.math.log(total) for k in range(z.shape[0])]


def cross_entropy(z, label):
    return -log_softmax(z)[label]


def kl(z, z_adv):
    """KL(p(x) || p(x')): the sum over the classes."""
    log_p, log_q = log_softmax(z), log_softmax(z_adv)
    total = 0.0
    for k in range(len(log_p)):
        total = total + tf.exp(log_p[k]) * (log_p[k] - log_q[k])
    return total


def trades_terms(model, x, y, x_adv, lam, training=True):
    """Eq. 1, image by image: J is cross-entropy, J' the divergence, divided by lambda (beta = 1 / lambda)."""
    z = model(x, training=training)
    z_adv = model(x_adv, training=training)
    terms = {"ce": [], "kl": []}
    for i in range(len(y)):
        terms["ce"].append(cross_entropy(z[i], y[i]))
        terms["kl"].append(kl(z[i], z_adv[i]) / lam)
    return terms


def ascend(passes, distance, x, start, eps, step, steps):
    """The inner maximum of eq. 1 and 8: signed ascent in the max-norm ball and in [0, 1], net in inference.

    `distance`(clean output, output) of one image; `start`: the images it begins at, which must differ from x,
    where either distance has gradient 0.
    """
    clean = passes(x, training=False)
    found = []
    for i in range(len(x)):
        image = tf.constant(start[i : i + 1])
        for _ in range(steps):
            with tf.GradientTape() as tape:
                tape.watch(image)
                d = distance(tf.stop_gradient(clean[i]), passes(image, training=False)[0])
            moved = (image + step * tf.sign(tape.gradient(d, image))).numpy()
            moved = np.minimum(np.maximum(moved, x[i] - eps), x[i] + eps)
            image = tf.constant(np.clip(moved, 0, 1))
        found.append(image.numpy()[0])
    return np.stack(found)


def value_and_gradients(terms_of, weights):
    """{term: (values by image, gradients of their mean by the weights)} of a function that returns terms."""
    with tf.GradientTape(persistent=True) as tape:
        terms = terms_of()
        means = {name: sum(values) / len(values) for name, values in terms.items()}
    return {
        name: (np.array([float(v) for v in terms[name]]), tape.gradient(means[name], weights))
        for name in terms
    }


def adaptive_mat(features, x, y, images, mu, alpha, beta):
    """Section 4.4: the training loss at x', its maximum dropped; a term of weight 0 is not there."""
    phi, clean = features(images, training=False), features(x, training=False)
    mu = tf.constant(mu, phi.dtype)
    losses = []
    for i in range(len(y)):
        loss = ftc(phi[i], mu[y[i]]) + alpha * so(phi[i], mu[y[i]])
        losses.append(float(loss + beta * cosine_distance(clean[i], phi[i])))
    return np.array(losses)


def adaptive_trades(model, x, y, images, lam):
    """The same of eq. 1: cross-entropy at x' and the divergence from p(x), divided by lambda."""
    z, z_adv = model(x, training=False), model(images, training=False)
    return np.array([float(cross_entropy(z_adv[i], y[i]) + kl(z[i], z_adv[i]) / lam) for i in range(len(y))])
