"""The primal-dual attacks: `base` has their game of a perturbation and two duals, `pdgd` and `pdpgd` how r
descends."""

from keras_adv.attacks.primal_dual.pdgd import PDGD
from keras_adv.attacks.primal_dual.pdpgd import PDPGD

__all__ = ["PDGD", "PDPGD"]
