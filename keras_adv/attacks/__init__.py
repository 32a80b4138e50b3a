"""Attacks: one file each, under two contracts (see `base`)."""

from keras_adv.attacks.apgd import APGD
from keras_adv.attacks.autoattack import AutoAttack
from keras_adv.attacks.base import Attack, BoundedAttack, Found, MinimalAttack
from keras_adv.attacks.bim import BIM
from keras_adv.attacks.boundary import Boundary
from keras_adv.attacks.brendel_bethge import BrendelBethge
from keras_adv.attacks.carlini_wagner import CarliniWagner
from keras_adv.attacks.daa import DAA
from keras_adv.attacks.ddn import DDN
from keras_adv.attacks.deepfool import DeepFool
from keras_adv.attacks.ead import EAD
from keras_adv.attacks.ensemble import Worst
from keras_adv.attacks.fab import FAB
from keras_adv.attacks.feature_adversary import FeatureAdversary
from keras_adv.attacks.fgsm import FGSM
from keras_adv.attacks.high_confidence import HighConfidence
from keras_adv.attacks.jsma import JSMA
from keras_adv.attacks.lbfgs import LBFGS
from keras_adv.attacks.mim import MIM
from keras_adv.attacks.one_pixel import OnePixel
from keras_adv.attacks.pdgd import PDGD
from keras_adv.attacks.pdpgd import PDPGD
from keras_adv.attacks.pgd import PGD
from keras_adv.attacks.sparsefool import SparseFool
from keras_adv.attacks.square import Square
from keras_adv.attacks.task import Task

__all__ = [
    "APGD",
    "BIM",
    "DAA",
    "DDN",
    "EAD",
    "FAB",
    "FGSM",
    "JSMA",
    "LBFGS",
    "MIM",
    "PDGD",
    "PDPGD",
    "PGD",
    "Attack",
    "AutoAttack",
    "Boundary",
    "BoundedAttack",
    "BrendelBethge",
    "CarliniWagner",
    "DeepFool",
    "FeatureAdversary",
    "Found",
    "HighConfidence",
    "MinimalAttack",
    "OnePixel",
    "SparseFool",
    "Square",
    "Task",
    "Worst",
]  # fmt: skip
