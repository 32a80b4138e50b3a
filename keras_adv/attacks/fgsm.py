"""The fast gradient sign method."""

from __future__ import annotations

from keras_adv.attacks.pgd import Ascent
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat


@register("attack", "fgsm")
class FGSM(Ascent):
    """One step of length eps from x (Goodfellow et al., arXiv:1412.6572, sec. 4); any norm.

    Args:
        threat: any norm, with an eps.
        loss: what is ascended, as in `pgd`.

    Cost: 1 forward-backward pass.
    """

    reference = "arXiv:1412.6572"
    threat: Threat = option(default=Linf(eps=0.1))
    loss: str = option(default="cross_entropy")
