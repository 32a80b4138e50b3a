"""A second, slow writing of double backpropagation and of the contractive penalty, from the papers alone.

H. Drucker, Y. LeCun, "Improving generalization performance using double backpropagation", IEEE Transactions
on Neural Networks 3(6), 1992: to the error E_f of a pattern is added E_b = 1/2 sum_i (dE_f / dx_i)^2, and the
gradient of both by the weights is taken. A. Ross, F. Doshi-Velez, "Improving the adversarial robustness and
interpretability of deep neural networks by regularizing their input gradients", AAAI 2018
(arXiv:1711.09404) have lambda in place of 1/2, and cross-entropy for E_f. S. Rifai et al., "Contractive
auto-encoders", ICML 2011, penalise the squared Frobenius norm of a Jacobian: here that of the logits.

One image after the other, one row of a Jacobian after the other. No paper has batch normalisation. Slopes are
taken in inference mode, where what a net says of an image is a function of that image alone.
"""

import tensorflow as tf

from tests.transcriptions.mat import cross_entropy


def errors(model, x, y):
    """E_f of each image, by one pass in training mode."""
    z = model(x, training=True)
    return [cross_entropy(z[i], int(y[i])) for i in range(len(y))]


def slope_of_the_error(model, image, label):
    """dE_f / dx of one image, which itself can be differentiated by the weights."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        error = cross_entropy(model(image[tf.newaxis], training=False)[0], label)
    return tape.gradient(error, image)


def jacobian(model, image):
    """dz_k / dx of one image, one class after the other."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        z = model(image[tf.newaxis], training=False)[0]
        entries = [z[k] for k in range(z.shape[0])]
    return [tape.gradient(entry, image) for entry in entries]


def penalties(model, x, y, weight, of):
    """`weight` times the squared slopes of the error (the paper: weight 1/2), or of all logits."""
    x, found = tf.constant(x), []
    for i in range(len(y)):
        slopes = [slope_of_the_error(model, x[i], int(y[i]))] if of == "loss" else jacobian(model, x[i])
        found.append(weight * sum(tf.reduce_sum(slope * slope) for slope in slopes))
    return found


def terms(model, x, y, weight, of="loss"):
    """Both terms of each image. The slopes come first: the pass of the errors moves what the net stores."""
    slopes = penalties(model, x, y, weight, of)
    return {"error": errors(model, tf.constant(x), y), "slope": slopes}
