"""Robust image classifiers for Keras, and an honest measurement of how robust.

>>> import keras_adv
>>> model = keras_adv.zoo.load("critic_lenet_digits")
>>> x, y = keras_adv.data.load("digits").test
>>> result = keras_adv.attack(model, x, y, "pgd(threat=linf(eps=0.1), steps=40)")
>>> result.images.shape
(360, 8, 8, 1)
"""

from keras_adv import _start
from keras_adv._version import __version__

if not _start.helps():  # then nothing of the package is used
    with _start.imports():
        from keras_adv import attacks, data, defenses, hub, models, registry, threats, zoo
        from keras_adv.adapters import as_classifier
        from keras_adv.card import ModelCard
        from keras_adv.evaluation import attack, audit, evaluate, transfer
        from keras_adv.fit import defend
        from keras_adv.recipes import Recipe
        from keras_adv.serving.export import export
        from keras_adv.training import train
        from keras_adv.tuning import search
        from keras_adv.validate import InvalidInput

__all__ = [
    "InvalidInput", "ModelCard", "Recipe", "__version__", "as_classifier", "attack", "attacks", "audit",
    "data", "defend", "defenses", "evaluate", "export", "hub", "models", "registry", "search", "threats",
    "train", "transfer", "zoo",
]  # fmt: skip
