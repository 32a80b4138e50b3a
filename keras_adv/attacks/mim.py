"""The momentum iterative method."""

from __future__ import annotations

from keras import ops

from keras_adv.attacks.base import State
from keras_adv.attacks.pgd import Ascent
from keras_adv.attacks.task import Task
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import Tensor, flat, rows


@register("attack", "mim")
class MIM(Ascent):
    """BIM along m <- momentum m + g / |g|_1, from x itself (Dong et al., arXiv:1710.06081, eq. 6); any norm.

    Args:
        threat: any norm, with an eps.
        steps: gradient steps.
        step_size: length of a step in units of eps.
        momentum: share of the last direction that is kept; 0 is BIM.
        loss: what is ascended, as in `pgd`.
        eot: draws of a random net that each gradient is the mean of.

    Cost: steps x eot forward-backward passes.
    """

    reference = "arXiv:1710.06081"
    threat: Threat = option(default=Linf(eps=0.1))
    steps: int = option(default=10, low=1)
    step_size: float = option(default=0.2, above=0.0)
    momentum: float = option(default=1.0, low=0.0)
    loss: str = option(default="cross_entropy")
    eot: int = option(default=1, low=1)

    @property
    def length(self) -> float:
        return self.step_size

    def memory(self, task: Task) -> State:
        return {"momentum": ops.zeros_like(task.x)}

    def direct(self, task: Task, state: State, g: Tensor) -> tuple[Tensor, State]:
        size = ops.sum(ops.abs(flat(g)), axis=1)
        m = self.momentum * state["momentum"] + g / rows(ops.maximum(size, 1e-35), g)
        return m, {"momentum": m}
