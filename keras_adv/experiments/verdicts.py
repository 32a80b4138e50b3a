"""Whether a claim of a paper was borne out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.stats import t as student

from keras_adv.experiments.base import Claim
from keras_adv.experiments.measures import Measured

CELLS = Mapping[tuple[str, str], Sequence[Measured]]
"""(row, column) -> the figure for each seed."""


class Figure(NamedTuple):
    """A cell over its seeds.

    Attributes:
        mean: over seeds; None: there is none.
        deviation: over seeds; None with one seed.
        error: half of the 95% interval of the mean: two standard errors over the images of one net; of
            several seeds Student's, with that of their images; None: not known.
        seeds: how many.
    """

    mean: float | None
    deviation: float | None
    error: float | None
    seeds: int


def over_seeds(found: Sequence[Measured]) -> Figure:
    """Mean and deviation of a cell."""
    known = [one for one in found if one.value is not None]
    if not known:
        return Figure(None, None, None, 0)
    values = [float(one.value) for one in known if one.value is not None]
    mean, count = sum(values) / len(values), len(values)
    if any(one.error is None for one in known) and count == 1:
        return Figure(mean, None, None, 1)
    images = 2.0 * math.sqrt(sum((one.error or 0.0) ** 2 for one in known)) / count
    if count == 1:
        return Figure(mean, None, images, 1)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    seeds = float(student.ppf(0.975, count - 1)) * deviation / math.sqrt(count)
    return Figure(mean, deviation, math.hypot(seeds, images), count)


class Verdict(NamedTuple):
    """What became of a claim.

    Attributes:
        claim: in words.
        outcome: "reproduced", "not reproduced" or "not decidable".
        why: the figures.
    """

    claim: str
    outcome: str
    why: str


def judge(claim: Claim, cells: CELLS, budget: str) -> Verdict:
    """Compares the two cells of a claim: their difference counts beyond its 95% interval."""
    high, low = (over_seeds(cells[cell]) for cell in (claim.high, claim.low))
    if high.mean is None or low.mean is None:
        return Verdict(claim.text, "not decidable", "one of the figures does not exist for these nets")
    more = high.mean - low.mean - claim.by
    one, other = (", ".join(cell) for cell in (claim.high, claim.low))
    why = f"{high.mean:.4g} ({one}) against {low.mean:.4g} ({other})"
    if budget == "smoke":
        return Verdict(claim.text, "not decidable", f"{why}; nets of one epoch on digits say nothing of it")
    if high.error is None or low.error is None:
        return Verdict(claim.text, "not decidable", f"{why}; of one seed, without a known error")
    noise = math.hypot(high.error, low.error)
    if abs(more) <= noise:
        return Verdict(claim.text, "not decidable", f"{why}: within the noise, {noise:.2g} at 95%")
    return Verdict(claim.text, "reproduced" if more > 0 else "not reproduced", why)
