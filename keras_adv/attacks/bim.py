"""The basic iterative method."""

from __future__ import annotations

from keras_adv.attacks.ascent import IteratedAscent
from keras_adv.registry import register


@register("attack", "bim")
class BIM(IteratedAscent):
    """Iterated FGSM from x itself (Kurakin et al., arXiv:1607.02533, sec. 2.2), clipped to ball and box.

    Args:
        threat: any norm, with an eps.
        steps: gradient steps.
        step_size: length of a step in units of eps; None is 2.5 / steps.
        loss: the objective that is ascended, as in `pgd`.
        patience: as in `pgd`.

    Cost: steps forward-backward passes.
    """

    reference = "arXiv:1607.02533"
