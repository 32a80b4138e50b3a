"""The basic iterative method."""

from __future__ import annotations

from keras_adv.attacks.pgd import Ascent
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat


@register("attack", "bim")
class BIM(Ascent):
    """Iterated FGSM from x itself (Kurakin et al., arXiv:1607.02533, sec. 2.2), clipped to ball and box.

    Args:
        threat: any norm, with an eps.
        steps: gradient steps.
        step_size: length of a step in units of eps.
        loss: what is ascended, as in `pgd`.

    Cost: steps forward-backward passes.
    """

    reference = "arXiv:1607.02533"
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=10, low=1)
    step_size: float = option(default=0.2, above=0.0)
    loss: str = option(default="cross_entropy")

    @property
    def length(self) -> float:
        return self.step_size
