"""Projected gradient descent."""

from __future__ import annotations

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.attacks.ascent import IteratedAscent
from keras_adv.attacks.base import Attack
from keras_adv.attacks.task import Task
from keras_adv.registry import option, register
from keras_adv.validate import invalid


@register("attack", "pgd")
class PGD(IteratedAscent):
    """Projected gradient descent from a random start (Madry et al., arXiv:1706.06083, eq. 2).

    Args:
        threat: any norm, with an eps.
        steps: gradient steps of one restart.
        step_size: length of a step in units of eps; None is 2.5 / steps (Madry et al., app. D).
        restarts: independent random starts; an image counts as robust if it survives all.
        random_start: start uniform in the ball instead of at x.
        jitter: standard deviation of Gaussian noise on the start, for objectives without a gradient at x:
            with random_start=False and 0.001 the start of TRADES.
        loss: the objective that is ascended, such as cross_entropy(), scaled(), margin(), dlr(), kl(),
            features(), or a defense's own (docs/attacks.md lists them).
        patience: leave an image whose best margin would have to rise so many times faster than in the last
            three steps to be a mistake after the last one; None: take all steps.
        eot: draws of a random net that each gradient is the mean of (arXiv:1707.07397). Such a net draws for
            a whole batch: only there do results depend on the batch size.

    Cost: steps x eot forward-backward passes a restart, fewer for images that are fooled on the way.

    >>> PGD(threat="linf(eps=8/255)", steps=20)
    pgd(threat=linf(eps=8/255), steps=20)
    """

    reference = "arXiv:1706.06083"
    steps: int = option(default=40, low=1)
    step_size: float | None = option(default=None, above=0.0)
    restarts: int = option(default=1, low=1)
    random_start: bool = option(default=True)
    jitter: float = option(default=0.0, low=0.0)
    eot: int = option(default=1, low=1)

    def check(self) -> None:
        super().check()
        if self.patience is not None and self.restarts > 1:
            raise invalid("patience", "None, with several `restarts`", self.patience)

    @property
    def rounds(self) -> int:
        # between two restarts the last iterate gets a round of its own to be looked at
        return self.restarts * (self.steps + 1) - 1

    def continued(self) -> Attack:
        return super(PGD, self.replace(restarts=1)).continued()

    def first_point(self, task: Task, seeds: Tensor) -> Tensor:
        first = self.threat.sample(task.x, seeds, task.eps) if self.random_start else task.x
        if not self.jitter:
            return first
        drawn = noise.normal(noise.fold(seeds, 1), tuple(task.x.shape[1:]))
        return self.threat.project(first + self.jitter * drawn, task.x, task.eps)
