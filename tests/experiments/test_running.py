"""A run of an experiment: what it measures, what it keeps, and that it goes on."""

import dataclasses
import json

import numpy as np
import pytest

import keras_adv
from keras_adv import experiments, registry
from keras_adv.experiments import Claim, Column, Experiment, Net, Row, Setting, budgets, plots
from keras_adv.experiments import measures as m
from keras_adv.experiments.geometry import Geometry
from keras_adv.experiments.running import Run
from keras_adv.pages import experiments as pages

PGD = "pgd(threat=linf(eps=0.1), steps=10)"
START = Net("recipe(defense=standard(), epochs=3)", {})
SMALL = Experiment(
    "test.small",
    "nowhere",
    "A table of two nets",
    (
        Column("clean", m.Accuracy()),
        Column("PGD", m.Accuracy(PGD)),
        Column("PGD, correct", m.Accuracy(PGD, correct=True)),
        Column("FGSM made on plain", m.Transferred("fgsm(threat=linf(eps=0.1))", "plain")),
        Column("DDN", m.Norm("ddn()")),
        Column("area", m.Area(PGD, (0.05, 0.1)), own=True),
        Column("at 0.1", m.At(PGD, (0.05, 0.1), 0.1), own=True),
        Column("match rate", Geometry("match_rate", PGD, percent=True), own=True),
        Column("logged", m.Logged("accuracy", percent=True), own=True),
        Column("rho", m.Rho("deep_defense"), own=True),
    ),
    (
        Row("plain", START, (98.0, 1.0, 2.0, 3.0, 0.5)),
        Row("tuned", Net("recipe(defense=adversarial(), epochs=3)", {}, START)),
    ),
    claims=(Claim("tuning helps", ("tuned", "PGD"), ("plain", "PGD")),),
    plots=(plots.OverEps(PGD, (0.05, 0.1)), plots.Sizes("ddn()"), plots.Examples("ddn()", 3)),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("reproduced")
    told = []
    run = Run(SMALL, Setting("smoke"), out, told.append)
    return out, run.finish(), told, run


def cell(results, row, column):
    return next(one for one in results["rows"] if one["label"] == row)["ours"][column]["mean"]


@pytest.mark.parametrize("row", ["plain", "tuned"])
def test_figures_are_those_of_an_evaluation(finished, row):
    _, results, _, run = finished
    subject = run.subject(row, 0)
    x, y = (part[: budgets.IMAGES["smoke"]] for part in keras_adv.data.load("digits").test)
    attack = budgets.lighter(registry.parse("attack", PGD))
    found = keras_adv.evaluate(subject.model, x, y, [attack, "ddn(steps=3)"])
    assert cell(results, row, "clean") == pytest.approx(100 * found["clean_accuracy"])
    assert cell(results, row, "PGD") == pytest.approx(100 * found["attacks"][0]["robust_accuracy"])
    assert cell(results, row, "at 0.1") == pytest.approx(cell(results, row, "PGD"))
    assert cell(results, row, "DDN") == pytest.approx(found["attacks"][1]["mean_norm"])


def test_transfer_to_the_net_itself_is_the_white_box(finished):
    _, results, _, run = finished
    subject, attack = run.subject("plain", 0), "fgsm(threat=linf(eps=0.1))"
    right = subject.transferred(attack, "plain")[subject.images().correct]
    own = subject.attacked(attack)
    assert np.array_equal(right, ~own.success[own.clean])
    assert cell(results, "plain", "FGSM made on plain") >= m.Accuracy(attack)(subject).value


def test_correct_images_are_as_many_as_all_if_there_are(finished):
    _, _, _, run = finished
    images = run.subject("tuned", 0).images(True)
    assert images.correct.all() and len(images.y) == budgets.IMAGES["smoke"]


def test_a_net_is_tuned_from_its_start_and_nets_are_trained_once(finished):
    out, results, told, _ = finished
    plain, tuned = (one["net"] for one in results["rows"])
    assert tuned.endswith(f", from {plain}") and str(out) not in tuned
    assert len(list((out / "nets").iterdir())) == 2
    assert len(told) == len(set(told))


def test_a_finished_run_measures_nothing_and_says_the_same(finished):
    out, results, _, _ = finished
    told = []
    again = Run(SMALL, Setting("smoke"), out, told.append).finish()
    assert again == results and told == []


def test_what_was_lost_is_measured_again_and_nothing_else(finished):
    out, results, _, _ = finished
    file = out / "test.small.json"
    kept = json.loads(file.read_text())
    lost = next(key for key in kept["cells"] if "Norm" in key)
    del kept["cells"][lost]
    file.write_text(json.dumps(kept))
    told = []
    again = Run(SMALL, Setting("smoke"), out, told.append).finish()
    assert again == results
    assert [line for line in told if "DDN" in line] == ["plain: DDN"]
    assert not [line for line in told if ": PGD" in line]


def test_the_page_shows_our_figure_beside_the_papers(finished):
    out, results, _, _ = finished
    html, text = (path.read_text() for path in pages.write(SMALL, results, out))
    ours = f"{cell(results, 'plain', 'clean'):.4g} (98)"
    assert ours in html and ours in text
    assert html.count("data:image/png") == 3 and "http" not in html.replace("http://www.w3.org", "")
    assert "not decidable" in text and "tuning helps" in text
    for name in ("test.small-1.png", "test.small-2.png", "test.small-3.png"):
        assert (out / name).is_file() and name in text
    assert "--budget=smoke" in text


def test_a_long_table_is_turned_on_its_side(finished):
    _, results, _, _ = finished
    turned = pages.table(SMALL, {**results, "rows": results["rows"]})
    assert len(turned.rows) == 2  # ten columns stay columns
    more = tuple(Column(name, m.Error(), own=True) for name in ("error", "again"))
    longer = dataclasses.replace(SMALL, columns=(*SMALL.columns, *more))
    rows = [
        {**row, "ours": {**row["ours"], **{one.head: row["ours"]["clean"] for one in more}}}
        for row in results["rows"]
    ]
    assert len(pages.table(longer, {**results, "rows": rows}).rows) == 12


def test_targets_count_as_an_evaluation_counts_them(finished):
    _, _, _, run = finished
    subject, attack = run.subject("plain", 0), "pgd(threat=linf(eps=0.3), steps=10)"
    images, how = subject.images(), {"targets": "random"}
    row = keras_adv.evaluate(subject.model, images.x, images.y, subject.parsed(attack), **how)["attacks"][0]
    assert m.Accuracy(attack, targets="random")(subject).value == pytest.approx(100 * row["still_correct"])
    assert m.Reached(attack, "random")(subject).value == pytest.approx(100 * row["success_rate"])


def test_another_table_finds_the_stages_of_a_training(finished):
    out, _, told, _ = finished
    staged = dataclasses.replace(START, after=0.2)
    other = Experiment(
        "test.stages", "nowhere", "x", (Column("clean", m.Accuracy()),), (Row("early", staged),)
    )
    Run(other, Setting("smoke"), out, told.append).finish()
    assert len(list((out / "nets").iterdir())) == 2  # that of `finished` had kept them


def test_figures_are_of_these_images(finished, tmp_path):
    """Another file at the same place is measured anew, and so is an entry of the zoo."""
    entry = Net("recipe()", "standard_lenet_digits")
    one = Experiment("test.entry", "nowhere", "x", (Column("clean", m.Accuracy()),), (Row("zoo", entry),))
    digits, file, found = keras_adv.data.load("digits"), tmp_path / "digits.npz", []
    for shift in (0, 1):
        parts = {
            f"{k}_{name}": part
            for name, of in (("train", digits.train), ("test", digits.test))
            for k, part in zip("xy", of, strict=True)
        }
        np.savez(file, **{**parts, "y_test": (parts["y_test"] + shift) % 10})
        setting = Setting("small", sources=(("digits", str(file)),))
        found.append(
            Run(one, setting, tmp_path, lambda line: None).finish()["rows"][0]["ours"]["clean"]["mean"]
        )
    assert found[0] > 90 and found[1] < 10


def test_a_damaged_file_of_figures_is_told(finished, tmp_path):
    (tmp_path / "test.small.json").write_text("{")
    with pytest.raises(keras_adv.InvalidInput, match="`out`"):
        Run(SMALL, Setting("smoke"), tmp_path, lambda line: None).finish()


def test_seeds_are_nets_of_their_own(tmp_path):
    two = Experiment("test.two", "nowhere", "x", (Column("clean", m.Accuracy()),), (Row("plain", START),))
    found = Run(two, Setting("smoke", seeds=2), tmp_path, lambda line: None).finish()
    figure = found["rows"][0]["ours"]["clean"]
    kept = list(json.loads((tmp_path / "test.two.json").read_text())["cells"].values())
    assert figure["seeds"] == 2 and len(kept) == 2
    assert figure["mean"] == pytest.approx(np.mean([value for value, _ in kept]))


def test_bad_input_is_told_before_anything_is_trained(tmp_path):
    for wrong in ({"name": "mat.table9"}, {"budget": "large"}, {"seeds": 0}):
        given = {"name": "thesis4.table1_mlp", "budget": "smoke", **wrong}
        with pytest.raises(keras_adv.InvalidInput, match=next(iter(wrong)).replace("name", "experiment")):
            experiments.run(given.pop("name"), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


KINDS = ("afd.fig_a5",)


@pytest.mark.parametrize(
    "name",
    [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in experiments.ALL],
)
def test_every_experiment_runs_at_the_smallest_budget(name, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "shared"  # experiments share nets
    one = experiments.ALL[name]
    results = experiments.run(name, out, budget="smoke")
    assert [row["label"] for row in results["rows"]] == [row.label for row in one.rows]
    for row in results["rows"]:
        assert set(row["ours"]) == {column.head for column in one.columns}
    assert len(results["claims"]) == len(one.claims) and len(results["pictures"]) == len(one.plots)
    assert all(path.stat().st_size > 300 for path in pages.write(one, results, out / "smoke"))
