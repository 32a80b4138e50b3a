"""The loss of deep margin maximisation written out from the thesis alone, slowly and literally.

A. Matyasko, L. P. Chau, "Margin maximization for robust classification using deep learning", IJCNN 2017;
chapter 3 of A. Matyasko's thesis, whose equations are cited. Equation 3.18 prints the hinge with the sign
of its logits turned; equation 3.19 has it right. Its epsilon(x, y) is a maximum over j other than y, not
"other than i".

The net is a Keras model that returns logits. One image at a time and one row of the Jacobian at a time;
nothing here is shared with the package.
"""

import tensorflow as tf


def hinge_of_image(logits, label):
    """max_{j != y} (1 + f_j - f_y)_+ (equations 3.18 and 3.19)."""
    worst = None
    for j in range(logits.shape[0]):
        if j == label:
            continue
        violation = tf.maximum(1 + logits[j] - logits[label], 0)
        if worst is None or float(violation) > float(worst):
            worst = violation
    return worst


def cross_entropy_of_image(logits, label):
    """The cross-entropy that section 3.5.2 trains Network in Network with in place of the hinge."""
    return tf.math.log(sum(tf.exp(logits[k]) for k in range(logits.shape[0]))) - logits[label]


def size(gradient, q, squared):
    """||.||_q, the dual of the norm in which the margin is measured (equation 3.13).

    The authors' code takes the square of the Euclidean norm, for which their C = 0.1 was chosen.
    """
    if q == 1:
        return tf.reduce_sum(tf.abs(gradient))
    square = tf.reduce_sum(gradient * gradient)
    return square if squared else tf.sqrt(square)


def sensitivity_of_image(model, image, label, q, squared):
    """epsilon(x, y) = max_{j != y} ||grad f_y - grad f_j||_q (below equation 3.18).

    With the stored statistics of batch normalisation: an image's gradient must not depend on the other
    images.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        logits = model(image[tf.newaxis], training=False)[0]
        entries = [logits[k] for k in range(logits.shape[0])]
    rows = [tape.gradient(entry, image) for entry in entries]
    worst = None
    for j in range(len(rows)):
        if j == label:
            continue
        one = size(rows[label] - rows[j], q, squared)
        if worst is None or float(one) > float(worst):
            worst = one
    return worst


def values_and_gradients(model, x, y, weights, q=2, squared=True, loss="hinge", training=True):
    """Both terms of each image, and the gradients of their means by each of the weights, before C.

    `training` says in which mode the hinge's logits are computed; the thesis' nets have no batch
    normalisation, for which alone it matters here. In training mode they are of the whole batch at once.
    """
    x = tf.convert_to_tensor(x)
    of_image = {"hinge": hinge_of_image, "cross_entropy": cross_entropy_of_image}[loss]
    values, means, sources = {}, {}, [weight.value for weight in weights]
    for name in ("sensitivity", "classification"):  # in this order: the second moves the stored statistics
        with tf.GradientTape() as tape:
            if name == "classification":
                logits = model(x, training=training)
                losses = [of_image(logits[i], int(label)) for i, label in enumerate(y)]
            else:
                losses = [sensitivity_of_image(model, x[i], int(k), q, squared) for i, k in enumerate(y)]
            value = sum(losses) / len(losses)
        gradients = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        values[name] = [float(one) for one in losses]
        means[name] = [gradient.numpy() for gradient in gradients]
    return values, means
