"""Attacks: one file or folder each, under two contracts (see `contracts`)."""

from keras_adv.attacks.apgd import APGD
from keras_adv.attacks.autoattack import AutoAttack
from keras_adv.attacks.base import Attack, Found
from keras_adv.attacks.bim import BIM
from keras_adv.attacks.boundary import Boundary
from keras_adv.attacks.brendel_bethge import BrendelBethge
from keras_adv.attacks.constraint_relaxation import ConstraintRelaxation
from keras_adv.attacks.contracts import BoundedAttack, MinimalAttack
from keras_adv.attacks.corner_search import CornerSearch
from keras_adv.attacks.daa import DAA
from keras_adv.attacks.ddn import DDN
from keras_adv.attacks.deepfool import DeepFool
from keras_adv.attacks.ensemble import Worst
from keras_adv.attacks.fab import FAB
from keras_adv.attacks.feature_adversary import FeatureAdversary
from keras_adv.attacks.fgsm import FGSM
from keras_adv.attacks.fmn import FMN
from keras_adv.attacks.grid import Grid
from keras_adv.attacks.high_confidence import HighConfidence
from keras_adv.attacks.hop_skip_jump import HopSkipJump
from keras_adv.attacks.jsma import JSMA
from keras_adv.attacks.mim import MIM
from keras_adv.attacks.objectives import Objective
from keras_adv.attacks.one_pixel import OnePixel
from keras_adv.attacks.penalty import EAD, LBFGS, CarliniWagner
from keras_adv.attacks.pgd import PGD
from keras_adv.attacks.primal_dual import PDGD, PDPGD
from keras_adv.attacks.sigma_zero import SigmaZero
from keras_adv.attacks.smallest_ball import SmallestBall
from keras_adv.attacks.sparsefool import SparseFool
from keras_adv.attacks.square import Square
from keras_adv.attacks.task import Examples, Task
from keras_adv.attacks.vfga import VFGA

__all__ = [
    "APGD",
    "BIM",
    "DAA",
    "DDN",
    "EAD",
    "FAB",
    "FGSM",
    "FMN",
    "JSMA",
    "LBFGS",
    "MIM",
    "PDGD",
    "PDPGD",
    "PGD",
    "VFGA",
    "Attack",
    "AutoAttack",
    "Boundary",
    "BoundedAttack",
    "BrendelBethge",
    "CarliniWagner",
    "ConstraintRelaxation",
    "CornerSearch",
    "DeepFool",
    "Examples",
    "FeatureAdversary",
    "Found",
    "Grid",
    "HighConfidence",
    "HopSkipJump",
    "MinimalAttack",
    "Objective",
    "OnePixel",
    "SigmaZero",
    "SmallestBall",
    "SparseFool",
    "Square",
    "Task",
    "Worst",
]  # fmt: skip
