"""What an attack makes of images where it does not stop at the first mistake."""

from __future__ import annotations

import keras
import numpy as np

from keras_adv.attacks import Attack
from keras_adv.attacks.ensemble import Ensemble
from keras_adv.attacks.host import HostAttack
from keras_adv.evaluation import compiled, goals
from keras_adv.evaluation.image_set import ImageSet
from keras_adv.evaluation.slots import in_batches


def every_step(
    model: keras.Model, images: ImageSet, attack: Attack, batch_size: int, seed: int
) -> np.ndarray | None:
    """(N, H, W, C) the last points of a bounded attack that takes all its steps on every image, as papers run
    it, whatever the model says of the clean one. They lie deeper in another class than the first mistake, at
    which `attack` stops, and need not be mistakes themselves.

    None for an attack that ends where it has found one: a minimal attack, several in a row, one that SciPy
    drives or that needs guides; and for a random net.
    """
    stops = isinstance(attack, (HostAttack, Ensemble)) or attack.guided or attack.contract == "minimal"
    if stops or images.random:
        return None
    examples = goals.make_examples(attack, images, seed, None, None)
    run = compiled.perturbed(model, attack)
    return in_batches(lambda *part: (run(*part),), batch_size, images.x, images.y, examples.seeds)[0]
