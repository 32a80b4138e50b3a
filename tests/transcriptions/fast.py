"""A second, slow writing of fast adversarial training (FGSM from a random start, "RS-FGSM").

E. Wong, L. Rice, J. Z. Kolter, "Fast is better than free: revisiting adversarial training", ICLR 2020
(arXiv:2001.03994), algorithm 3. The box [0, 1] is not in algorithm 3; the authors' code
(locuslab/fast_adversarial, CIFAR10/train_fgsm.py) keeps x + delta in it, after the draw and after the step.

Pixels are handled one by one. Crafting runs the net in inference mode, so that each image goes alone; the
authors' code crafts in training mode, where the images of a batch depend on one another.
"""

import numpy as np
import tensorflow as tf

from tests.transcriptions.mat import cross_entropy


def clamp(value, low, high):
    """max(min(value, high), low), as algorithm 3 writes it."""
    return max(min(value, high), low)


def in_box(delta, image):
    """delta of one image, each pixel so that image + delta is in [0, 1]."""
    kept = np.empty_like(delta)
    for pixel in np.ndindex(delta.shape):
        kept[pixel] = clamp(delta[pixel], 0.0 - image[pixel], 1.0 - image[pixel])
    return kept


def slope(model, image, label, delta):
    """The gradient of the loss of f(image + delta) by delta: taken at the random start, not at the image."""
    delta = tf.constant(delta)
    with tf.GradientTape() as tape:
        tape.watch(delta)
        loss = cross_entropy(model((image + delta)[tf.newaxis], training=False)[0], int(label))
    return tape.gradient(loss, delta).numpy()


def step(delta, gradient, eps, alpha):
    """delta + alpha sign(gradient), then back to [-eps, eps]: alpha may be longer than eps."""
    moved = np.empty_like(delta)
    for pixel in np.ndindex(delta.shape):
        sign = float(gradient[pixel] > 0) - float(gradient[pixel] < 0)
        moved[pixel] = clamp(delta[pixel] + alpha * sign, -eps, eps)
    return moved


def adversarial(model, x, y, drawn, eps, alpha):
    """x + delta of algorithm 3 for each image, from the `drawn` delta (uniform in [-eps, eps])."""
    found = []
    for image, label, delta in zip(x, y, drawn, strict=True):
        delta = in_box(delta, image)
        delta = step(delta, slope(model, image, label, delta), eps, alpha)
        found.append(image + in_box(delta, image))
    return np.stack(found)


def losses(model, x_adv, y):
    """The loss whose gradient updates theta: of x + delta alone, in training mode; delta is a constant."""
    z = model(tf.stop_gradient(tf.constant(x_adv)), training=True)
    return [cross_entropy(z[i], int(y[i])) for i in range(len(y))]
