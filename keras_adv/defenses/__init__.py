"""Defenses: one file each, as ordered moves (see `base`)."""

from keras_adv.defenses.adversarial import Adversarial
from keras_adv.defenses.base import Defense, Move
from keras_adv.defenses.critic import Critic
from keras_adv.defenses.dropout import Dropout
from keras_adv.defenses.margin import Margin
from keras_adv.defenses.standard import Standard

__all__ = ["Adversarial", "Critic", "Defense", "Dropout", "Margin", "Move", "Standard"]
