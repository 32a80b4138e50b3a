"""Square attack: `attack` searches at random, `stripes` and `mounds` have what each norm changes."""

from keras_adv.attacks.square.attack import Square

__all__ = ["Square"]
