"""MadNet's loss written out from the paper alone, slowly and literally.

S. Rozenberg, G. Elidan, R. El-Yaniv, "MadNet: Using a MAD Optimization for Defending Against Adversarial
Attacks", 2019. Sections and equations are the paper's. Where it contradicts itself, the corrected form is
taken and the reason said.

`both` is always a Keras model that returns [embedding z, logits] of the same pass. One image, one class and
one entry of the Jacobian at a time; nothing here is shared with the package.
"""

import tensorflow as tf


def smoothed_target(label, classes, alpha):
    """The target of appendix F: alpha on the true class, what is left shared by the others."""
    return [alpha if k == label else (1 - alpha) / (classes - 1) for k in range(classes)]


def cross_entropy(logits, labels, alpha):
    """CE(x, y; F) of section 3.2 of each image, on smoothed targets."""
    losses = []
    for i, label in enumerate(labels):
        classes = logits.shape[1]
        target = smoothed_target(int(label), classes, alpha)
        normaliser = tf.math.log(sum(tf.exp(logits[i, k]) for k in range(classes)))
        losses.append(-sum(target[k] * (logits[i, k] - normaliser) for k in range(classes)))
    return losses


def cosine(z1, z2):
    """The cosine of section 3.1 of two embeddings."""
    return tf.reduce_sum(z1 * z2) / (tf.sqrt(tf.reduce_sum(z1 * z1)) * tf.sqrt(tf.reduce_sum(z2 * z2)))


def siamese(z1, z2, labels1, labels2, squared=False):
    """|cos(z1, z2) - s| of each pair (algorithm 1, line 19), or its square (L_MAD in section 3.2)."""
    losses = []
    for i in range(len(labels1)):
        same = 1.0 if int(labels1[i]) == int(labels2[i]) else 0.0
        off = cosine(z1[i], z2[i]) - same
        losses.append(off * off if squared else tf.abs(off))
    return losses


def reduce_variance(z, labels, classes):
    """RVL of equation 4 of one branch: (1 / M) sum_c sigma_c, M the number of classes.

    The paper prints 1 / N_c before the sum over c, in which c is not defined: the mean over classes is meant.
    A class of one image has z = mu, hence sigma_c = 0; the root is not taken there, for it has no derivative.
    """
    total = tf.zeros((), z.dtype)
    for c in range(classes):
        members = [z[i] for i in range(len(labels)) if int(labels[i]) == c]
        if len(members) < 2:
            continue
        centre = sum(members) / len(members)
        distances = [tf.sqrt(tf.reduce_sum((member - centre) ** 2)) for member in members]
        total += sum(distances) / len(members)
    return total / classes


def derivatives(function, images):
    """D[i][k][j] = d F_k(x_i) / d x_j, one entry of the output at a time.

    In training mode batch normalisation lets every image of the batch move every output, so j need not be i.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        outputs = function(images)
        entries = [[outputs[i, k] for k in range(outputs.shape[1])] for i in range(outputs.shape[0])]
    return [[tape.gradient(entry, images) for entry in entries_of_one] for entries_of_one in entries]


def jacobian_norm(found, of):
    """|| d F(x_j) / d x_j ||_F of each image (section 3.1, algorithm 1 line 21).

    `of="summed"` has the rows sum_i d F_k(x_i) / d x_j: what a framework returns as the gradient of the
    batch's k-th outputs by x_j, which is what the authors' code takes. `of="own"` has i = j alone. Without
    coupling both are one.
    """
    norms = []
    for j in range(len(found)):
        square = 0.0
        for k in range(len(found[0])):
            outputs = range(len(found)) if of == "summed" else [j]
            row = sum(found[i][k][j] for i in outputs)
            square += tf.reduce_sum(row * row)
        norms.append(tf.sqrt(square))
    return norms


def projected_jacobian_norm(found, directions, of):
    """|J'v| of each image for given v (i, n, k), of n draws the root of their mean square: E |J'v|^2 =
    ||J||_F^2.

    `of="summed"` is the gradient of sum_i v_i . F(x_i) by x_j, each image with directions of its own.
    """
    norms = []
    for j in range(len(found)):
        square = 0.0
        draws = len(directions[j])
        for n in range(draws):
            outputs = range(len(found)) if of == "summed" else [j]
            along = sum(directions[i][n][k] * found[i][k][j] for i in outputs for k in range(len(found[0])))
            square += tf.reduce_sum(along * along)
        norms.append(tf.sqrt(square / draws))
    return norms


def jacobian_of_branch(both, images, training=True, of="summed", directions=None, jacobian_of="logits"):
    """The Jacobian term of each image of a branch, of the logits (algorithm 1) or of the embedding (section
    3.1).

    It is that of the training graph, as the embedding and the logits are (algorithm 1, lines 17 to 21):
    batch normalisation uses the statistics of the branch's own batch. `training=False` is there to say what
    differs.
    """
    which = {"embedding": 0, "logits": 1}[jacobian_of]
    found = derivatives(lambda x: both(x, training=training)[which], images)
    return jacobian_norm(found, of) if directions is None else projected_jacobian_norm(found, directions, of)


def mean(losses):
    """The mean over the images of a batch."""
    return sum(losses) / len(losses)


def term_of_batch(
    name, both, x1, y1, x2, y2, classes, alpha=0.8, squared=False, directions=(None, None), **how
):
    """One term of L_MAD of section 3.2, summed over the two branches, before its lambda.

    x2, y2 are the partners that algorithm 1 draws (lines 5 to 16), given explicitly.
    """
    if name == "jacobian":
        first = jacobian_of_branch(both, x1, directions=directions[0], **how)
        second = jacobian_of_branch(both, x2, directions=directions[1], **how)
        return mean(first) + mean(second)
    z1, logits1 = both(x1, training=True)
    z2, logits2 = both(x2, training=True)
    if name == "cross_entropy":
        return mean(cross_entropy(logits1, y1, alpha)) + mean(cross_entropy(logits2, y2, alpha))
    if name == "siamese":
        return mean(siamese(z1, z2, y1, y2, squared))
    return reduce_variance(z1, y1, classes) + reduce_variance(z2, y2, classes)


def value_and_gradients(name, weights, *batch, **how):
    """A term as a number, with its gradient by each of the weights (0 where it does not depend on one)."""
    sources = [weight.value for weight in weights]
    with tf.GradientTape() as tape:
        term = term_of_batch(name, *batch, **how)
    gradients = tape.gradient(term, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return float(term), [gradient.numpy() for gradient in gradients]
