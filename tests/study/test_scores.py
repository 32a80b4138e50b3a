"""From answers to the table: laws, SciPy's intervals, and an example that was computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from keras_adv import InvalidInput, study


def test_who_sees_the_true_class_everywhere_keeps_all_and_who_sees_what_the_model_sees_flips_all(key, person):
    kept, flipped = person(0, {n: n for n in range(4)}), person(0, {n: n + 1 for n in range(4)})
    for answers, kind in ((kept, "kept"), (flipped, "flipped")):
        (row,) = (r for r in study.score(key, [answers])["rows"] if r["model"] == "net")
        assert row[kind] == 1.0 and sum(row[k] for k in ("kept", "flipped", "other", "unsure")) == 1.0
        assert row[f"{kind}_interval"][1] == 1.0
        assert row["agreement"] is None and row["kappa"] is None  # one answer an image agrees with nobody


def test_a_small_study_is_as_computed_by_hand(key, person):
    people = [
        person(0, {0: 0, 1: 2, 2: 4, 4: 0, 5: 1}),  # kept, flipped, other
        person(1, {0: 1, 1: 2, 2: None, 4: (0, 5), 5: 0}),  # flipped, flipped, unsure
        person(2, {0: 0, 1: (2, 1)}),  # kept, flipped
    ]
    results = study.score(key, people)
    net, clean = results["rows"]
    # image 0: 2/3 kept, 1/3 flipped; image 1: flipped; image 2: half other, half unsure; image 3: nobody
    assert net["images"] == 3 and net["answers"] == 8
    assert net["kept"] == pytest.approx(2 / 9) and net["flipped"] == pytest.approx((1 / 3 + 1) / 3)
    assert net["other"] == pytest.approx(1 / 6) and net["unsure"] == pytest.approx(1 / 6)
    assert net["confidence"] == pytest.approx((6 * 3 + 1) / 7)
    # equal pairs: 1 of 3, 3 of 3, 0 of 1; answers 0: 2, 1: 1, 2: 3, 4: 1, unsure: 1 of 8
    observed, chance = (1 / 3 + 1 + 0) / 3, (4 + 1 + 9 + 1 + 1) / 64
    assert net["agreement"] == pytest.approx(observed)
    assert net["kappa"] == pytest.approx((observed - chance) / (1 - chance))
    assert clean["model"] is None and clean["kept"] == 0.75 and clean["flipped"] == 0.0
    assert clean["other"] == 0.25 and clean["agreement"] == 0.5
    first, second, third = results["people"]
    assert first["clean"] == 1.0 and second["clean"] == 0.5 and third["clean"] is None
    assert second["unsure"] == 1 and first["seconds"] == 2.5 and third["answers"] == 2


def test_fleiss_own_example():
    """The table of his paper's textbook form: 10 subjects, 14 raters, 5 categories, kappa 0.210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert study.kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)
    assert study.agreement(np.array(counts)) == pytest.approx(0.378, abs=5e-4)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_scipys_wilson_interval(drawn):
    hits, n = drawn
    wanted = stats.binomtest(hits, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(study.wilson(hits / n, n), wanted, atol=1e-12)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=8))
def test_agreement_is_1_where_all_say_the_same_and_kappa_does_not_hang_on_the_names(rows):
    counts = np.array([np.bincount(row, minlength=5) for row in rows])
    unanimous = bool((counts.max(1) == 3).all())
    assert (study.agreement(counts) == 1.0) == unanimous
    kappa = study.kappa(counts)
    assert kappa is None or kappa <= 1.0
    if unanimous and kappa is not None:
        assert kappa == pytest.approx(1.0)
    other = study.kappa(counts[::-1, ::-1])
    assert kappa == other or kappa == pytest.approx(other)


def test_more_people_on_the_same_images_do_not_narrow_the_interval(key, person):
    one, many = [person(0, {0: 0, 1: 2})], [person(n, {0: 0, 1: 2}) for n in range(6)]
    first, second = (study.score(key, people)["rows"][0] for people in (one, many))
    assert first["kept_interval"] == second["kept_interval"] and second["agreement"] == 1.0
    assert second["kappa"] == pytest.approx(1.0)


def test_the_tables_have_every_row_and_nothing_is_scored_of_nothing(key, person):
    results = study.score(key, [person(0, {0: 1, 5: 1})])
    made = study.score_table(results)
    assert list(made.columns[0].cells) == ["net", "clean"]
    assert next(iter(made.columns[1].cells)).startswith("100.0% (")
    assert study.people_table(results).row_count == 1
    assert list(study.agreement_table(results).columns[1].cells) == ["3.00", "3.00"]
    with pytest.raises(InvalidInput, match="`answers` must be files with at least one answer"):
        study.score(key, [person(0, {})])
