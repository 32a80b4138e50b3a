"""A claim is borne out where the difference is beyond its noise."""

import pytest

from keras_adv.experiments.base import Claim
from keras_adv.experiments.measures import Measured
from keras_adv.experiments.verdicts import judge, over_seeds

CLAIM = Claim("a above b", ("a", "PGD"), ("b", "PGD"))


def outcome(high, low, claim=CLAIM, budget="small"):
    return judge(claim, {("a", "PGD"): high, ("b", "PGD"): low}, budget).outcome


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [
        (Measured(50, 1.0), Measured(40, 1.0), "reproduced"),
        (Measured(40, 1.0), Measured(50, 1.0), "not reproduced"),
        (Measured(50, 1.0), Measured(48, 1.0), "not decidable"),  # 2 standard errors are 2.83
        (Measured(50, 1.0), Measured(47, 1.0), "reproduced"),
        (Measured(None), Measured(40, 1.0), "not decidable"),
        (Measured(0.5), Measured(0.4), "not decidable"),  # an error that is not known may be any
    ],
)
def test_one_seed(high, low, expected):
    assert outcome([high], [low]) == expected


def test_over_seeds_the_deviation_counts_and_not_the_images():
    figure = over_seeds([Measured(40.0, 0.1), Measured(50.0, 0.1), Measured(60.0, 0.1)])
    assert (figure.mean, figure.deviation, figure.seeds) == (50.0, 10.0, 3)
    assert figure.error == pytest.approx(4.303 * 10 / 3**0.5, rel=1e-3)  # Student's t of 2 degrees
    wide = [Measured(v, 0.1) for v in (40.0, 50.0, 60.0)]
    assert outcome(wide, [Measured(45.0, 0.1)]) == "not decidable"


def test_equal_seeds_still_have_the_noise_of_their_images():
    alike = [Measured(50.1, 1.6)] * 2
    assert outcome(alike, [Measured(50.0, 1.6)] * 2) == "not decidable"


def test_by_moves_the_line():
    much = Claim("ten above", ("a", "PGD"), ("b", "PGD"), by=10.0)
    assert outcome([Measured(50, 0.1)], [Measured(45, 0.1)], much) == "not reproduced"
    near = Claim("no worse", ("a", "PGD"), ("b", "PGD"), by=-3.0)
    assert outcome([Measured(44, 0.1)], [Measured(45, 0.1)], near) == "reproduced"


def test_a_smoke_run_decides_nothing():
    assert outcome([Measured(90, 0.1)], [Measured(1, 0.1)], budget="smoke") == "not decidable"
