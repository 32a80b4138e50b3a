"""What the benchmarks compute from what they measure; the measuring itself is for an idle machine."""

import numpy as np
import pytest

from keras_adv.bench.minimal_norms import local_optimality


def test_local_optimality_is_one_for_the_best_and_none_for_an_attack_that_finds_nothing():
    best, none = np.array([0.1, 0.4, 0.2]), np.full(3, np.inf)
    assert local_optimality([best, none]) == pytest.approx([1.0, 0.0])
    assert local_optimality([]) == []


def test_it_is_the_share_of_the_area_below_the_curve_of_accuracy():
    rng = np.random.default_rng(0)
    attacks = [rng.random(50) for _ in range(3)]
    attacks[0][:5] = np.inf
    best = np.min(attacks, axis=0)
    grid = np.linspace(0, best.max(), 100_001)
    area = [np.trapezoid((each[:, None] > grid).mean(0), grid) for each in (*attacks, best)]
    wanted = [1 - (a - area[-1]) / (best.max() - area[-1]) for a in area[:-1]]
    assert local_optimality(attacks) == pytest.approx(wanted, abs=1e-3)
