"""The momentum iterative method."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, expand_like, flatten
from keras_adv.attacks.ascent import IteratedAscent
from keras_adv.attacks.base import State
from keras_adv.attacks.task import Task
from keras_adv.registry import option, register


@register("attack", "mim")
class MIM(IteratedAscent):
    """BIM along m <- momentum m + g / |g|_1, from x itself (Dong et al., arXiv:1710.06081, eq. 6); any norm.

    Args:
        threat: any norm, with an eps.
        steps: gradient steps.
        step_size: length of a step in units of eps; None is 2.5 / steps.
        momentum: share of the last direction that is kept; 0 is BIM.
        loss: the objective that is ascended, as in `pgd`.
        patience: as in `pgd`.
        eot: draws of a random net that each gradient is the mean of.

    Cost: steps x eot forward-backward passes.
    """

    reference = "arXiv:1710.06081"
    momentum: float = option(default=1.0, low=0.0)
    eot: int = option(default=1, low=1)

    def memory(self, task: Task) -> State:
        return {"momentum": ops.zeros_like(task.x)}

    def direction(self, task: Task, state: State, g: Tensor) -> tuple[Tensor, State]:
        size = ops.sum(ops.abs(flatten(g)), axis=1)
        m = self.momentum * state["momentum"] + g / expand_like(ops.maximum(size, 1e-35), g)
        return m, {"momentum": m}
