"""Attacks that search the weight of a penalty: `search` has the search, the others what is minimised for each
weight."""

from keras_adv.attacks.penalty.carlini_wagner import CarliniWagner
from keras_adv.attacks.penalty.ead import EAD
from keras_adv.attacks.penalty.lbfgs import LBFGS

__all__ = ["EAD", "LBFGS", "CarliniWagner"]
