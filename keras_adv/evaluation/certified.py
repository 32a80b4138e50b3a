"""Certified accuracy: images that provably no attack in a linf ball gets classified wrong."""

from __future__ import annotations

import keras
import numpy as np

from keras_adv import registry, validate
from keras_adv.arrays import Tensor
from keras_adv.backend import Net, compile
from keras_adv.evaluation.image_set import ImageSet
from keras_adv.evaluation.slots import in_batches
from keras_adv.intervals import around, margin_bounds
from keras_adv.losses import largest_other
from keras_adv.threats import Linf, Threat


def check(model: keras.Model, threat: Threat | str) -> Linf:
    """The threat. Raises InvalidInput unless it is linf with an eps, and the model has interval bounds."""
    ball = registry.parse("threat", threat)
    if not isinstance(ball, Linf):
        raise validate.invalid("certify", "linf(eps=...), of which interval bounds are known", ball)
    ball.radius()
    image = np.zeros((1, *model.input_shape[1:]), "float32")
    margin_bounds(Net(model), image, image, np.zeros(1, "int32"))
    return ball


def certified(model: keras.Model, images: ImageSet, threat: Linf, batch_size: int) -> np.ndarray:
    """(N,) bool: whether interval bounds show that no image in ball and box is classified otherwise
    than y.

    The bounds are computed in float32 and not rounded outward. Cost: three forward passes an image.
    """
    net = Net(model, frozen=True)

    def bounded(x: Tensor, y: Tensor) -> tuple[Tensor]:
        upper = margin_bounds(net, *around(x, threat.radius()), y)
        return (largest_other(upper, y) < 0,)

    run = compile(bounded, model)
    held = in_batches(lambda *part: run(*part), batch_size, images.x, images.y)[0]
    return held & images.correct
