"""What batch normalisation stores of a net, and a step of plain gradient descent in float64."""

import numpy as np


def statistics(model):
    """The moving means and variances of a net, in one vector."""
    return np.concatenate([np.ravel(v.value) for v in model.variables if "moving" in v.path])


def descend(model, gradients, rate):
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
