"""Threat models: what an attacker may change. `Linf(eps=8/255)` or the spec "linf(eps=8/255)"."""

from keras_adv.threats.base import Threat
from keras_adv.threats.l0 import L0
from keras_adv.threats.l1 import L1
from keras_adv.threats.l2 import L2
from keras_adv.threats.linf import Linf

__all__ = ["L0", "L1", "L2", "Linf", "Threat"]
