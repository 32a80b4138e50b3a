"""The two contracts of an attack: inside a ball, or the smallest perturbation."""

from __future__ import annotations

from keras import ops

from keras_adv.arrays import Tensor, zeros_per_image
from keras_adv.attacks.base import Attack, State
from keras_adv.attacks.task import Task
from keras_adv.backend import where_rows

NOTHING = 1e30
"""The norm of the best image before anything is found."""


class BoundedAttack(Attack):
    """Looks for a mistake inside the ball of radius eps. State: "x", the current image."""

    contract = "bounded"
    offers = "x"

    def check(self) -> None:
        self.threat.radius()

    def nothing_kept(self, task: Task) -> State:
        return {"kept": task.x, "kept_margin": zeros_per_image(task.x) - 1e30}

    def keep_best(self, task: Task, state: State, images: Tensor) -> State:
        images = self.threat.project(images, task.x, task.eps)
        margin = task.over_draws(images)[1]
        further = margin > state["kept_margin"]
        return {
            "kept": where_rows(further, images, state["kept"]),
            "kept_margin": ops.where(further, margin, state["kept_margin"]),
        }


class MinimalAttack(Attack):
    """Looks for the mistake nearest to x. State: "best", the nearest so far, and its norm "best_norm".

    `threat` gives the norm; its eps, if any, is only where the robust accuracy is reported.
    """

    contract = "minimal"
    offers = "best"

    def no_best_yet(self, task: Task) -> State:
        """The entries "best" and "best_norm" of the state before anything is found."""
        return {"best": task.x, "best_norm": zeros_per_image(task.x) + NOTHING}

    def measure(self, r: Tensor) -> Tensor:
        """(B,) what the nearest image has the least of: the norm of its change r."""
        return self.threat.norm(r)

    def update_best(self, task: Task, state: State, tried: Tensor, hit: Tensor) -> State:
        """The entries "best" and "best_norm" after trying images `tried`, of which those with `hit` (B,) are
        adversarial; of a random net only what fools most draws."""
        norm = self.measure(tried - task.x)
        better = ops.logical_and(task.confirmed(tried, hit), norm < state["best_norm"])
        return {
            "best": where_rows(better, tried, state["best"]),
            "best_norm": ops.where(better, norm, state["best_norm"]),
        }


class Around(Attack):
    """Of an attack that runs another one, its option `attack`: it asks a model for what that does."""

    attack: Attack

    @property
    def knowledge(self) -> str:  # type: ignore[override]
        return self.attack.knowledge

    @property
    def targetable(self) -> bool:  # type: ignore[override]
        return self.attack.targetable

    @property
    def min_classes(self) -> int:
        return self.attack.min_classes
