"""Attacks: one file each, under two contracts (see `base`)."""

from keras_adv.attacks.base import Attack, BoundedAttack, Found, MinimalAttack
from keras_adv.attacks.bim import BIM
from keras_adv.attacks.deepfool import DeepFool
from keras_adv.attacks.fgsm import FGSM
from keras_adv.attacks.high_confidence import HighConfidence
from keras_adv.attacks.pdgd import PDGD
from keras_adv.attacks.pdpgd import PDPGD
from keras_adv.attacks.pgd import PGD

__all__ = [
    "BIM", "FGSM", "PDGD", "PDPGD", "PGD", "Attack", "BoundedAttack", "DeepFool", "Found",
    "HighConfidence", "MinimalAttack",
]  # fmt: skip
