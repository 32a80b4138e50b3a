"""Several attacks, one after the other; bounded ones each on what the ones before it left standing."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_adv import noise
from keras_adv.arrays import Tensor
from keras_adv.attacks.base import Attack, Found
from keras_adv.attacks.objectives import MarginObjective
from keras_adv.attacks.pgd import PGD
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.validate import invalid


class Ensemble(Attack):
    """Base of ensembles inside one threat. Subclasses write `parts`. Of an image that several break the first
    mistake is kept, or, where the contract is "minimal", the nearest."""

    contract = "bounded"

    def check(self) -> None:
        self.threat.radius()

    @property
    def rounds(self) -> int:
        return sum(part.rounds for part in self.parts(10))

    def run(self, task: Task) -> Found:
        found = Found(*self.verify(task, task.x), ops.zeros_like(task.y))
        for number, part in enumerate(self.parts(task.logits(task.x).shape[1])):
            seeds = noise.fold(task.seeds, number) if number else task.seeds
            more = part.run(task.with_goal(seeds=seeds))
            new = Found(*self.verify(task, more.images), found.rounds + more.rounds)
            found = self._better(found, new)
        return found

    def _better(self, found: Found, new: Found) -> Found:
        kept, minimal = found.success, self.contract == "minimal"
        if minimal:
            nearest = ops.logical_or(ops.logical_not(new.success), found.distance <= new.distance)
            kept = ops.logical_and(kept, nearest)
        both = Found(*(where_rows(kept, a, b) for a, b in zip(found, new, strict=True)))
        return both._replace(rounds=new.rounds) if minimal else both

    def perturb(
        self, logits: Any, x: Tensor, y: Tensor, seeds: Tensor, target: Tensor | None = None
    ) -> Tensor:
        return ops.stop_gradient(self.run(self._training_task(logits, x, y, seeds, target)).images)


@register("attack", "worst")
class Worst(Ensemble):
    """The worst case over several attacks in one threat: an image counts as robust if it survives all.

    Args:
        threat: of all of them, in place of their own.
        attacks: bounded or minimal ones, tried in their order.

    Cost: of the attacks, each on the survivors of the ones before it.
    """

    threat: Threat = option(default=Linf(eps=0.1))
    attacks: tuple[Attack, ...] = option(default=(PGD(), PGD(loss=MarginObjective())))

    def check(self) -> None:
        super().check()
        for attack in self.attacks:
            one = attack.replace(threat=self.threat)  # has this norm
            if one.guided:
                raise invalid("attacks", "attacks without a guide image", attack)

    @property
    def min_classes(self) -> int:
        return max(attack.min_classes for attack in self.attacks)

    def parts(self, classes: int) -> tuple[Attack, ...]:
        given = (attack.replace(threat=self.threat) for attack in self.attacks)
        return tuple(part for attack in given for part in attack.parts(classes))
