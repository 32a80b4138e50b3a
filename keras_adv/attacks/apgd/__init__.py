"""Auto-PGD: `attack` has the loop, `momentum` its steps in linf and l2, `sparse` those in l1, `schedule` the
lookup of what is planned for a step."""

from keras_adv.attacks.apgd.attack import APGD

__all__ = ["APGD"]
