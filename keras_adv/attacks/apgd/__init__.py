"""Auto-PGD: `attack` chooses its own step size; `momentum` and `sparse` are its walks, `schedule` what both
look up."""

from keras_adv.attacks.apgd.attack import APGD

__all__ = ["APGD"]
