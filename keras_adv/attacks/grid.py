"""The best of several runs of one attack, for each image."""

from __future__ import annotations

import dataclasses
from typing import Any

from keras_adv import validate
from keras_adv.attacks.base import Attack
from keras_adv.attacks.contracts import Around
from keras_adv.attacks.daa import DAA
from keras_adv.attacks.ensemble import Ensemble
from keras_adv.attacks.pgd import PGD
from keras_adv.attacks.primal_dual import PDGD, PDPGD
from keras_adv.attacks.primal_dual.base import THESIS
from keras_adv.registry import option, preset, register
from keras_adv.threats import L2, Linf, Threat
from keras_adv.validate import invalid

RATES = (0.01, 0.05, 0.1, 0.5, 1.0)
SHARES = (1.0, 1 / 2, 1 / 5, 1 / 10, 1 / 25, 1 / 50, 1 / 100)
"""The thesis' rates of its own attacks, and its steps of PGD and DAA in units of eps (5.4)."""


@register("attack", "grid")
class Grid(Around, Ensemble):
    """Runs an attack once for each value of one of its options, and keeps the best for each image: of a
    minimal attack the smallest perturbation, of a bounded one any mistake.

    Thesis 5.4 takes the best of a grid of rates or steps. Its words allow one value for all images, too, a
    weaker attack: for that give the attacks one by one, and take the best row.

    Args:
        threat: of all runs, in place of the attack's own.
        attack: bounded or minimal.
        field: name of the option.
        values: of the option, in the order of the runs. Each run but the first draws its own random numbers.

    Cost: of the runs; of a bounded attack each on the survivors of the ones before it.

    >>> Grid(threat="l2()", attack="pdgd()", values=(0.1, 1.0))
    grid(threat=l2(), attack=pdgd(), values=(0.1, 1.0))
    """

    threat: Threat = option(default=Linf())
    attack: Attack = option(default=PDPGD())
    field: str = option(default="lr")
    values: tuple[float, ...] = option(default=RATES)

    def check(self) -> None:
        fields = [one.name for one in dataclasses.fields(self.attack) if one.name != "threat"]  # type: ignore[arg-type]
        validate.one_of("field", self.field, fields)
        if self.attack.guided:
            raise invalid("attack", "an attack without a guide image", self.attack)
        self._runs()  # takes these values and has this norm

    def _runs(self) -> list[Attack]:
        own: dict[str, Any] = {"threat": self.threat}
        return [self.attack.replace(**own, **{self.field: value}) for value in self.values]

    @property
    def contract(self) -> str:  # type: ignore[override]
        return self.attack.contract

    @property
    def leaves_box(self) -> bool:  # type: ignore[override]
        return self.attack.leaves_box

    def parts(self, classes: int) -> tuple[Attack, ...]:
        return tuple(part for run in self._runs() for part in run.parts(classes))


_OURS = "The thesis' own attack, its rate the best of five (5.4)"
preset("pdgd_grid_thesis", Grid(threat=L2(), attack=PDGD(**THESIS)), note=f"{_OURS}.")
preset(
    "pdpgd_grid_thesis",
    Grid(threat=Linf(), attack=PDPGD(**THESIS, threat=Linf(), optimizer="sgd", l0_prox="l0")),
    note=f"{_OURS}; any norm.",
)
preset(
    "pgd_grid_thesis",
    Grid(threat=Linf(eps=0.3), attack=PGD(steps=100), field="step_size", values=SHARES),
    note="PGD with the best of seven steps (thesis 5.4); one restart.",
)
preset(
    "daa_grid_thesis",
    Grid(threat=Linf(eps=0.3), attack=DAA(particles=1), field="step_size", values=SHARES),
    note="DAA-1 with the best of seven steps (thesis 5.4); see daa_1_thesis.",
)
