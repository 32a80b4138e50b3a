"""A second, slow writing of misclassification aware adversarial training (MART), from its text alone.

Wang et al., "Improving Adversarial Robustness Requires Revisiting Misclassified Examples" (ICLR 2020).
Nothing but the passes through the net is vectorised, as in mat.py.
"""

import numpy as np
import tensorflow as tf

from tests.transcriptions.mat import cross_entropy, kl, log_softmax


def hardest(z, label):
    """The wrong class of the greatest probability."""
    best = None
    for k in range(z.shape[0]):
        if k != label and (best is None or float(z[k]) > float(z[best])):
            best = k
    return best


def odds_against(z, label):
    """(1 - p_label) / p_label.

    As a sum of the others: 1 - p would be 0 for a logit that stands 40 above the others, even in float64.
    """
    total = 0.0
    for k in range(z.shape[0]):
        if k != label:
            total = total + tf.exp(z[k] - z[label])
    return total


def bce(z_adv, label):
    """-log p_y(x') - log(1 - max_{k != y} p_k(x')), where p = 1 / (1 + odds), 1 - p = 1 / (1 + 1 / odds)."""
    rival = hardest(z_adv, label)
    return tf.math.log1p(odds_against(z_adv, label)) + tf.math.log1p(1 / odds_against(z_adv, rival))


def weighted_kl(z, z_adv, label):
    """KL(p(x) || p(x')) (1 - p_y(x)). Every p learns: the text fixes none, and the authors' code neither."""
    return kl(z, z_adv) / (1 + 1 / odds_against(z, label))


def mart_terms(model, x, y, x_adv, lam, training=True):
    """The loss of MART, image by image: BCE(p(x'), y) + lambda KL(p(x) || p(x')) (1 - p_y(x)). x' is found
    before, and is a number."""
    z, z_adv = model(x, training=training), model(x_adv, training=training)
    terms = {"bce": [], "kl": []}
    for i in range(len(y)):
        terms["bce"].append(bce(z_adv[i], y[i]))
        terms["kl"].append(lam * weighted_kl(z[i], z_adv[i], y[i]))
    return terms


def ascend(model, x, y, eps, step, steps):
    """x' by signed ascent of the cross-entropy from x, in max-norm ball and in [0, 1], net in inference."""
    images = np.array(x)
    for _ in range(steps):
        point = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(point)
            z = model(point, training=False)
            total = sum(cross_entropy(z[i], y[i]) for i in range(len(y)))
        images = images + step * np.sign(tape.gradient(total, point).numpy())
        images = np.clip(np.minimum(np.maximum(images, x - eps), x + eps), 0, 1)
    return images


def as_printed(z, z_adv, label):
    """(BCE, weighted KL) as numbers in probabilities, with no logarithm rewritten: right where none is 0."""
    p, q = (np.exp(v) / np.sum(np.exp(v)) for v in (np.asarray(z), np.asarray(z_adv)))
    wrong = max(q[k] for k in range(len(q)) if k != label)
    divergence = sum(p[k] * np.log(p[k] / q[k]) for k in range(len(p)))
    return -np.log(q[label]) - np.log(1 - wrong), divergence * (1 - p[label])


def slopes(z, z_adv, label):
    """{term: (gradient by z, gradient by z')} written out in probabilities, for one image, lambda = 1.

    BCE: with m the hardest wrong class, -log q_y has the slope q_k - [k = y]; -log(1 - q_m) has
    q_m ([k = m] - q_k) / (1 - q_m).
    Weighted KL = D w with w = 1 - p_y: dD/dz_k = p_k (log p_k - log q_k - D), dw/dz_k = -p_y ([k = y] - p_k),
    dD/dz'_k = q_k - p_k.
    """
    log_p, log_q = (np.array([float(v) for v in log_softmax(tf.constant(one))]) for one in (z, z_adv))
    p, q = np.exp(log_p), np.exp(log_q)
    m = hardest(z_adv, label)
    divergence = sum(p[k] * (log_p[k] - log_q[k]) for k in range(len(p)))
    by_clean = rest(p, label) * p * (log_p - log_q - divergence)
    by_clean = by_clean - divergence * p[label] * from_unit(p, label)
    by_moved = q[m] * from_unit(q, m) / rest(q, m) - from_unit(q, label)
    return {"bce": (np.zeros_like(p), by_moved), "kl": (by_clean, rest(p, label) * (q - p))}


def rest(p, label):
    """1 - p_label."""
    return sum(p[k] for k in range(len(p)) if k != label)


def from_unit(p, label):
    """[k = label] - p_k for every k."""
    return np.array([rest(p, k) if k == label else -p[k] for k in range(len(p))])
