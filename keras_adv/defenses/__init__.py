"""Defenses: one file each, as ordered moves (see `base`), with the papers' own settings as presets."""

from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.afd import AFD
from keras_adv.defenses.awp import AWP
from keras_adv.defenses.base import Defense, Move
from keras_adv.defenses.critic import Critic
from keras_adv.defenses.deep_defense import DeepDefense
from keras_adv.defenses.deepfool_training import DeepFoolTraining
from keras_adv.defenses.distilled import Distilled
from keras_adv.defenses.double_backprop import DoubleBackprop
from keras_adv.defenses.dropout import Dropout
from keras_adv.defenses.fast import Fast
from keras_adv.defenses.ibp import IBP
from keras_adv.defenses.label_smoothing import LabelSmoothing
from keras_adv.defenses.mad import MAD
from keras_adv.defenses.margin import Margin
from keras_adv.defenses.mart import Mart
from keras_adv.defenses.mat import MAT
from keras_adv.defenses.mmc import MMC
from keras_adv.defenses.nuat import NuAT
from keras_adv.defenses.parseval import Parseval
from keras_adv.defenses.pgi import PGI
from keras_adv.defenses.rslad import RSLAD
from keras_adv.defenses.standard import Standard
from keras_adv.defenses.trades import Trades
from keras_adv.defenses.vat import VAT

__all__ = [
    "AFD",
    "AWP",
    "IBP",
    "MAD",
    "MAT",
    "MMC",
    "PGI",
    "RSLAD",
    "VAT",
    "Adversarial",
    "Critic",
    "DeepDefense",
    "DeepFoolTraining",
    "Defense",
    "Distilled",
    "DoubleBackprop",
    "Dropout",
    "Fast",
    "LabelSmoothing",
    "Margin",
    "Mart",
    "Move",
    "NuAT",
    "Parseval",
    "Standard",
    "Trades",
]
