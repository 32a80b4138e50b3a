"""AutoAttack, the field's reference for robust accuracy."""

from __future__ import annotations

from typing import Any

from keras_adv.attacks.apgd import APGD
from keras_adv.attacks.base import Attack
from keras_adv.attacks.constraint_relaxation import ConstraintRelaxation
from keras_adv.attacks.ensemble import Ensemble
from keras_adv.attacks.fab import FAB
from keras_adv.attacks.objectives import DLR, MarginObjective, Objective
from keras_adv.attacks.square import Square
from keras_adv.registry import option, register
from keras_adv.threats import Linf, Threat
from keras_adv.threats.base import require_norm


@register("attack", "autoattack")
class AutoAttack(Ensemble):
    """Attacks without parameters to tune, each on the survivors of the ones before it (Croce & Hein,
    arXiv:2003.01690).

    "standard": APGD on the cross-entropy, APGD on the targeted DLR, targeted FAB, Square. "plus": with 5
    restarts, APGD on DLR and untargeted FAB besides. "rand", for nets that are random: both APGDs on
    gradients averaged over 20 draws. In l1 (arXiv:2103.01208) "standard" has 5 restarts and 5 targets of
    APGD. The targets are the 9 most likely wrong classes, or all where there are fewer. With 3 classes the
    margin stands in for the targeted DLR, which needs 4; with 2 also for DLR, which needs 3.

    "quick" (linf): constraint relaxation and a tenth of Square's queries, which are to tell whether gradients
    mislead it. For searches, curves and the best of many epochs; what is published is "standard".

    Args:
        threat: linf, l2 or l1, with an eps.
        version: "standard", "plus", "rand" or "quick".
        steps: of each APGD and FAB run.
        queries: of Square.

    Cost, 10 classes, an image that survives: 101 + 9 x 101 + 9 x 100 forward-backward passes and 5000 forward
    passes. An image that is broken costs the passes up to there.
    """

    reference = "arXiv:2003.01690"
    threat: Threat = option(default=Linf(eps=8 / 255))
    version: str = option(default="standard", choices=("standard", "plus", "rand", "quick"))
    steps: int = option(default=100, low=1)
    queries: int = option(default=5000, low=1)

    def check(self) -> None:
        super().check()
        require_norm(self.threat, *(("linf",) if self.version == "quick" else ("linf", "l2", "l1")))

    def parts(self, classes: int) -> tuple[Attack, ...]:
        l1, plus = self.threat.name == "l1", self.version == "plus"
        most: dict[str, Any] = {"threat": self.threat, "steps": self.steps}
        if self.version == "quick":
            short = Square(threat=self.threat, steps=max(1, self.queries // 10))
            return ConstraintRelaxation(threat=self.threat), short
        restarts = 5 if l1 or plus else 1
        targets = min(5 if l1 and not plus else 9, classes - 1)
        ratio: Objective = DLR() if classes > 2 else MarginObjective()
        if self.version == "rand":
            return APGD(**most, eot=20), APGD(**most, loss=ratio, eot=20)
        entropy = APGD(**most, restarts=restarts)
        reach = APGD(**most, loss=ratio if classes > 3 else MarginObjective(), targets=targets)
        fab = FAB(**most, targets=min(9, classes - 1), inside=True)
        square = Square(threat=self.threat, steps=self.queries)
        if not plus:
            return entropy, reach, fab, square
        wide = FAB(**most, restarts=5, inside=True)
        return (entropy, APGD(**most, restarts=5, loss=ratio), wide, square, reach, fab)
