"""The net whose answers another one learns."""

from __future__ import annotations

import keras
import numpy as np

from keras_adv import zoo
from keras_adv.classifier import check_logits, check_model
from keras_adv.validate import unusable


def teacher_of(name: str | None, net: keras.Model) -> keras.Model:
    """The teacher of `net`, which does not learn.

    Args:
        name: in the zoo, a run folder or FILE.keras; None: a copy of `net` as it is.
        net: the student.

    Raises:
        InvalidInput: no such model, one of other images or classes, or one that does not return logits.
    """
    teacher = _copy(net) if name is None else zoo.open(name)
    if check_model(teacher) != check_model(net):
        shape, classes = check_model(net)
        raise unusable("teacher", f"a net of images {shape} and {classes} classes", str(name))
    check_logits(teacher.predict(np.random.default_rng(0).random((8, *net.input_shape[1:])), verbose=0))
    teacher.trainable = False
    return teacher


def _copy(net: keras.Model) -> keras.Model:
    """Another net with the same weights."""
    try:
        made = keras.models.clone_model(net)
    except TypeError as error:  # a subclass that cannot be made from a config
        raise unusable(
            "teacher", "given for a net that Keras cannot copy", f"None, and {net.name}"
        ) from error
    made.set_weights(net.get_weights())
    return made
