"""A second, slow writing of the constraint of Parseval networks, from the paper alone.

M. Cisse, P. Bojanowski, E. Grave, Y. Dauphin, N. Usunier, "Parseval networks: improving robustness to
adversarial examples", ICML 2017 (arXiv:1704.08847), algorithm 1.

A weight matrix W has a row for each output. Of a convolution it is the kernel unfolded: row o has all that
output channel o multiplies, the window's height times its width times the input channels. Numbers are kept in
lists of rows and multiplied one by one.
"""

import numpy as np
import tensorflow as tf


def rows_of(kernel):
    """W of a kernel of Keras, whose last axis is the outputs: (inputs, out) or (height, width, in, out)."""
    rows = []
    for o in range(kernel.shape[-1]):
        row = []
        for index in np.ndindex(kernel.shape[:-1]):
            row.append(float(kernel[(*index, o)]))
        rows.append(row)
    return rows


def kernel_of(rows, shape):
    """The kernel of Keras that has these rows."""
    kernel = np.zeros(shape)
    for o, row in enumerate(rows):
        for position, index in enumerate(np.ndindex(shape[:-1])):
            kernel[(*index, o)] = row[position]
    return kernel


def dot(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True))


def retraction(rows, chosen, beta):
    """W_S <- (1 + beta) W_S - beta W_S W_S^T W_S, once, for the rows S that were `chosen` (algorithm 1).

    W_S is a matrix by itself: the products are among its rows. All are taken before any row is replaced.
    """
    part = [rows[i] for i in chosen]
    new = [list(row) for row in rows]
    for i, row in zip(chosen, part, strict=True):
        inner = [dot(row, other) for other in part]
        for d in range(len(row)):
            pull = sum(inner[j] * part[j][d] for j in range(len(part)))
            new[i][d] = (1 + beta) * row[d] - beta * pull
    return new


def unfolding(shape):
    """What the paper divides an unfolded convolution's output by: the root of the size of the window.

    An input pixel is copied into that many windows, so that a tight W alone would not keep lengths. 1 for a
    dense kernel.
    """
    window = 1
    for length in shape[:-2]:
        window *= length
    return np.sqrt(window)


def projected(kernel, chosen, beta, divided=False):
    """A kernel of Keras after one retraction of its `chosen` outputs.

    `divided`: the kernel is W / unfolding, as a plain convolution has to store it to be the paper's layer.
    """
    scale = unfolding(kernel.shape) if divided else 1.0
    rows = retraction(rows_of(kernel * scale), chosen, beta)
    return kernel_of(rows, kernel.shape) / scale


def constraint(w, beta):
    """R_beta(W) = beta / 4 |W W^T - I|^2: a gradient step of length 1 down it is the retraction.

    (The paper states the constraint with another constant in front; the retraction is what it computes.)
    """
    gram = tf.matmul(w, w, transpose_b=True)
    return beta / 4 * tf.reduce_sum((gram - tf.eye(w.shape[0], dtype=w.dtype)) ** 2)
