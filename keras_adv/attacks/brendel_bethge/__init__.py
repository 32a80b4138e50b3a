"""The attack of Brendel & Bethge: `attack` walks along the boundary, `step` finds each of its steps."""

from keras_adv.attacks.brendel_bethge.attack import BrendelBethge

__all__ = ["BrendelBethge"]
