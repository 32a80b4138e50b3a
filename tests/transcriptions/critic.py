"""A second, slow writing of the adversary critic, from chapter 4 of the thesis and its published settings.

Two signs are turned: eq. 4.3 prints a minimum where a maximum is meant, and the classifier minimises -log D
of its adversarial images (eq. 4.4 prints +log D). Eq. 4.5 is computed with the squared norm, summed over the
pixels.
`net` and `critic` are functions of a batch of images that return logits.
"""

import numpy as np
import tensorflow as tf

from tests.transcriptions.mat import log_softmax


def softplus(a):
    return a + tf.math.log1p(tf.exp(-a)) if a > 0 else tf.math.log1p(tf.exp(a))


def bce(logit, target):
    """-log D for target 1, -log (1 - D) for target 0."""
    return softplus(-logit) if target == 1 else softplus(logit)


def argmax(row):
    return int(np.argmax(row.numpy()))


@tf.custom_gradient
def straight_round(a):
    """The stopping rule's rounding: its gradient is that of the identity (straight-through estimator)."""
    return tf.round(a), lambda up: up


def closest_classes(net, x):
    """(predicted, target): the class whose linearised boundary is nearest to x, from the full Jacobian."""
    x = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = net(x)
        columns = [tf.reduce_sum(z[:, k]) for k in range(z.shape[1])]
    jac = [tape.gradient(column, x).numpy() for column in columns]
    predicted, targets = [], []
    for i in range(len(x)):
        label, distances = argmax(z[i]), []
        for j in range(z.shape[1]):
            if j == label:
                distances.append(np.inf)
                continue
            w = jac[j][i] - jac[label][i]
            distances.append(abs(float(z[i, j] - z[i, label])) / np.sqrt(np.sum(w**2)))
        predicted.append(label)
        targets.append(int(np.argmin(distances)))
    return predicted, targets


def attack(net, x, targets, confidences, steps=5, overshoot=0.05, trace=None):
    """Algorithm 1, unrolled for training. No box: what leaves [0, 1] stays.

    Every step linearises at x + 1.05 r, taken as a number: the weights reach the result through f and w of
    each step, and through the stopping rule's straight-through gradient, but not through where a step begins.
    A confidence that depends on the weights carries gradient through f and through the rule.
    """
    x = tf.convert_to_tensor(x)
    count = x.shape[0]
    moved = [tf.zeros_like(x[i]) for i in range(count)]
    going = [tf.ones((), x.dtype) for _ in range(count)]
    for _ in range(steps):
        at = tf.stop_gradient(tf.stack([x[i] + (1 + overshoot) * moved[i] for i in range(count)]))
        with tf.GradientTape() as tape:
            tape.watch(at)
            z = net(at)
            log_p = [log_softmax(z[i])[targets[i]] for i in range(count)]
            total = sum(log_p)
        w = tape.gradient(total, at)
        for i in range(count):
            indicator = straight_round(tf.sigmoid(confidences[i] - tf.exp(log_p[i])))
            going[i] = going[i] * indicator
            f = tf.abs(log_p[i] - tf.math.log(confidences[i]))
            length = tf.sqrt(1e-8 + tf.reduce_sum(w[i] ** 2))
            moved[i] = moved[i] + going[i] * (1e-4 + f / length) * w[i] / length
        if trace is not None:
            trace.append(([float(g) for g in going], tf.stack(moved).numpy()))
    return tf.stack([x[i] + (1 + overshoot) * moved[i] for i in range(count)])


def new_confidences(old, logits, decay=0.5):
    """The running confidence of each class, grouped by the PREDICTED class; an absent one keeps its own."""
    new = [float(c) for c in old]
    for k in range(len(new)):
        seen = []
        for row in logits:
            if argmax(row) == k:
                seen.append(float(tf.exp(log_softmax(row)[k])))
        mean = sum(seen) / len(seen) if seen else new[k]
        new[k] = decay * new[k] + (1 - decay) * mean
    return new


def penalty(critic, u, classes):
    """(|grad_u D_c(u)| - 1)^2 of each image, at the data and not between them."""
    u = tf.convert_to_tensor(u)
    with tf.GradientTape() as tape:
        tape.watch(u)
        z = critic(u)
        total = sum(z[i, classes[i]] for i in range(len(classes)))
    slope = tape.gradient(total, u)
    return [(tf.sqrt(tf.reduce_sum(slope[i] ** 2)) - 1) ** 2 for i in range(len(classes))]


def critic_terms(critic, net, x, y, x_adv, grad_weight=10.0, only=None):
    """Eq. 4.3 with its sign turned, image by image; x_adv are numbers.

    An adversarial image is judged by the output of the class the classifier takes it for. All images count,
    as in eq. 4.3 and in the authors' code, unless `only` names those whose adversarial half does.
    """
    x_adv = tf.stop_gradient(tf.convert_to_tensor(x_adv))
    z_adv = net(x_adv)
    taken = [argmax(z_adv[i]) for i in range(len(y))]
    d, d_adv = critic(tf.convert_to_tensor(x)), critic(x_adv)
    only = range(len(y)) if only is None else only
    steep = penalty(critic, x_adv, taken)
    return {
        "real": [bce(d[i, y[i]], 1) for i in range(len(y))],
        "fake": [bce(d_adv[i, taken[i]], 0) for i in only],
        "clean penalty": [grad_weight * p for p in penalty(critic, x, list(y))],
        "adversarial penalty": [grad_weight * steep[i] for i in only],
    }


def classifier_terms(
    net, critic, x, y, targets, confidences, weight=0.5, cycle=0.01, steps=5, clean_detached=False, fit=None
):
    """Eq. 4.4 (sign turned) with eq. 4.5 (squared): {term: values of the images it is a mean over}.

    The adversarial terms are means over the images whose prediction the attack changed. `confidences` (C of
    the target class) are numbers; the confidence of the way back is the clean image's own, as it stands in
    the authors' graph: the weights reach it, unless `clean_detached`. `fit`: the pass of the cross-entropy,
    where it differs from `net` (the thesis' nets have no batch normalisation, so there it does not).
    """
    x = tf.convert_to_tensor(x)
    z = net(x)
    predicted = [argmax(z[i]) for i in range(len(y))]
    x_adv = attack(net, x, targets, [tf.constant(c, x.dtype) for c in confidences], steps)
    z_adv = net(x_adv)
    taken = [argmax(z_adv[i]) for i in range(len(y))]
    clean = [tf.exp(log_softmax(z[i])[predicted[i]]) for i in range(len(y))]
    if clean_detached:
        clean = [tf.stop_gradient(c) for c in clean]
    back = attack(net, tf.stop_gradient(x_adv), predicted, clean, steps)
    d_adv, trained = critic(x_adv), (fit or net)(x)
    terms = {"ce": [], "gan": [], "cycle": []}
    for i in range(len(y)):
        terms["ce"].append(-log_softmax(trained[i])[y[i]])
        if taken[i] != predicted[i]:
            terms["gan"].append(weight * bce(d_adv[i, taken[i]], 1))
            terms["cycle"].append(cycle * tf.reduce_sum((x[i] - back[i]) ** 2))
    return terms


def value_and_gradients(terms_of, weights):
    """{term: (values, gradients of their mean by the weights)}; an empty term has no gradient."""
    with tf.GradientTape(persistent=True) as tape:
        terms = terms_of()
        means = {name: sum(values) / max(len(values), 1) for name, values in terms.items()}
    return {
        name: (
            np.array([float(v) for v in terms[name]]),
            tape.gradient(means[name], weights) if terms[name] else [None] * len(weights),
        )
        for name in terms
    }


def pretraining_terms(fit, x, y, matrices):
    """The first epoch: cross-entropy and 5e-6 times half the squares of all weights but the last layer's."""
    z = fit(x)
    decay = 5e-6 * sum(tf.reduce_sum(w**2) / 2 for w in matrices[:-1])
    return {"ce": [-log_softmax(z[i])[y[i]] for i in range(len(y))], "decay": [decay]}
