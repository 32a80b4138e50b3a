"""The fast gradient sign method."""

from __future__ import annotations

from keras_adv.attacks.ascent import ProjectedAscent
from keras_adv.registry import register


@register("attack", "fgsm")
class FGSM(ProjectedAscent):
    """One step of length eps from x (Goodfellow et al., arXiv:1412.6572, sec. 4); any norm.

    Args:
        threat: any norm, with an eps.
        loss: the objective that is ascended, as in `pgd`.

    Cost: 1 forward-backward pass.
    """

    reference = "arXiv:1412.6572"
