"""A card reads back as it was written, grows by attacks of the same images, or is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import keras_adv
from keras_adv import InvalidInput, zoo
from keras_adv.card import ModelCard
from keras_adv.card_schema import SCHEMA
from keras_adv.threats import Linf


@pytest.fixture
def card():
    return zoo.card("standard_lenet_digits")


def test_a_card_reads_back_as_it_was_written(card, tmp_path):
    card.save(tmp_path)
    assert ModelCard.read(tmp_path) == card
    assert (tmp_path / "README.md").read_text() == card.markdown()


OLDER = sorted((Path(__file__).parent / "cards").glob("schema_*.json"))
"""Cards that were written when their schema was the newest."""


def test_a_card_of_every_older_schema_is_kept():
    assert {json.loads(kept.read_text())["schema"] for kept in OLDER} == {*range(1, SCHEMA)}


@pytest.mark.parametrize("kept", OLDER, ids=lambda kept: kept.stem)
def test_a_card_of_every_older_schema_reads_as_one_of_the_newest(kept, tmp_path):
    written = json.loads(kept.read_text())
    version = int(kept.stem.split("_")[1])
    shutil.copy(kept, tmp_path / "card.json")
    found = ModelCard.read(tmp_path)
    assert written["schema"] == version and found.schema == SCHEMA
    same = {name: value for name, value in dataclasses.asdict(found).items() if name in written}
    assert {**same, "schema": version} == written
    found.check_specs()
    found.save(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["schema"] == SCHEMA
    assert ModelCard.read(tmp_path) == found


@pytest.mark.parametrize(("version", "newer"), [(1, "origin"), (2, "training")])
def test_a_card_of_an_older_schema_has_nothing_of_a_newer_one(card, version, newer, tmp_path):
    values = {**dataclasses.asdict(card), "schema": version}
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(InvalidInput, match=f"{newer}: Extra inputs"):
        ModelCard.read(tmp_path)


def test_a_trained_net_without_results_is_no_card(card, tmp_path):
    with pytest.raises(InvalidInput, match=r"`card` must follow schema 3.*results\.n"):
        dataclasses.replace(card, results={}).save(tmp_path)


def test_a_card_keeps_curves_and_worst_cases_and_none_is_written_that_is_no_card(net, digits, card, tmp_path):
    x, y = digits.test[0][:20], digits.test[1][:20]
    both = ["fgsm()", "pgd(steps=2)"]
    found = keras_adv.evaluate(net, x, y, both, eps=[0.1, 0.2])
    assert "worst" in found and "curve" in found["attacks"][0]
    whole = dataclasses.replace(card, results=found)
    whole.save(tmp_path)
    assert ModelCard.read(tmp_path) == whole
    assert whole.with_attacks({**found, "attacks": []}) == whole
    assert "worst" not in whole.with_attacks({**found, "attacks": found["attacks"][:1]}).results
    with pytest.raises(InvalidInput, match=r"`card` must follow schema 3.*unknown"):
        dataclasses.replace(card, results={**found, "unknown": 1}).save(tmp_path)
    assert ModelCard.read(tmp_path) == whole


def test_an_attack_that_is_measured_again_replaces_its_row_however_the_old_one_was_written(card):
    row = {**card.results["attacks"][0], "robust_accuracy": 0.5}
    assert "loss='cross_entropy'" in row["full_spec"]
    row["full_spec"] = row["full_spec"].replace("loss='cross_entropy'", "loss=cross_entropy()")
    other = {**row, "spec": "fgsm(threat=linf(eps=0.02))", "full_spec": "fgsm(threat=linf(eps=0.02))"}
    grown = card.with_attacks({**card.results, "attacks": [row, other]}).results["attacks"]
    assert [r["robust_accuracy"] for r in grown][:1] == [0.5] and grown[-1] == other
    assert len(grown) == len(card.results["attacks"]) + 1


def test_measurements_of_other_images_or_another_model_are_refused(card):
    with pytest.raises(InvalidInput, match="`clean_accuracy` must be the card's"):
        card.with_attacks({**card.results, "clean_accuracy": 0.5})
    with pytest.raises(InvalidInput, match="`data, split, n` must be the card's"):
        card.check_images("digits", "test", 7)


def without(values, *path):
    """The values without what the path leads to."""
    *inner, last = path
    for name in inner:
        values = values[name]
    del values[last]


def put(value, *path):
    def change(values):
        for name in path[:-1]:
            values = values[name]
        values[path[-1]] = value

    return change


ROW = ("results", "attacks", 0)
ROW_1 = {"epoch": 1, "seconds": 2.5, "loss": 2.3, "accuracy": 0.4}
TOOK = {"flop": 10**17, "forward_flop": 10**9, "epochs": 2, "curve": [ROW_1]}
FIELDS = ("spec", "full_spec", "robust_accuracy", "interval", "success_rate", "mean_norm", "seconds")
BAD = {
    "another schema": put(7, "schema"),
    "a name that leads up": put("../up", "name"),
    "no data": put({}, "data"),
    "a number for a hash": put(3, "sha256"),
    "an accuracy of 700%": put(7.0, "results", "clean_accuracy"),
    "an accuracy in words": put("99%", "results", "clean_accuracy"),
    "NaN": put(float("nan"), "results", "clean_accuracy"),
    "NaN seconds": put(float("nan"), "seconds"),
    "an infinite norm": put(float("inf"), *ROW, "mean_norm"),
    "no image": put(0, "results", "n"),
    "an empty interval": put([], "results", "clean_interval"),
    "rows that are numbers": put([1], "results", "attacks"),
    "a ragged probe": put([[1.0], [1.0, 2.0]], "probe"),
    "a probe of words": put([["a"] * 10] * 2, "probe"),
    "a huge probe": put([[10**400] * 10] * 2, "probe"),
    "an audit of numbers": put([1], "audit"),
    "a field too many": put(1, "extra"),
    "a training without FLOP": put({"epochs": 1, "forward_flop": 1, "curve": []}, "training"),
    "an epoch 0": put({**TOOK, "curve": [{"epoch": 0, "seconds": 1.0}]}, "training"),
    "an accuracy of 200% in training": put({**TOOK, "curve": [{**ROW_1, "accuracy": 2.0}]}, "training"),
    "an audit of no image": put({"threat": "linf(eps=0.1)", "n": 0}, "audited"),
    **{f"no {name}": lambda values, name=name: without(values, "results", name) for name in ("n", "attacks")},
    **{f"a row without {name}": lambda values, name=name: without(values, *ROW, name) for name in FIELDS},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_card_of_another_form_is_refused_in_a_short_line(card, kind, tmp_path):
    values = dataclasses.asdict(card)
    BAD[kind](values)
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(InvalidInput, match="`card` must follow schema 3") as caught:
        ModelCard.read(tmp_path)
    assert len(str(caught.value)) <= 500


def test_a_card_larger_than_any_is_not_read(tmp_path):
    with (tmp_path / "card.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InvalidInput, match="at most 10485760 bytes"):
        ModelCard.read(tmp_path)


@pytest.mark.parametrize("changes", [{"recipe": "nothing"}, {"spec": "nuke()"}])
def test_specs_of_nothing_that_is_known_are_told_apart(card, changes):
    row = {**card.results["attacks"][0], **({k: v for k, v in changes.items() if k == "spec"})}
    changes = {k: v for k, v in changes.items() if k != "spec"}
    other = dataclasses.replace(card, results={**card.results, "attacks": [row]}, **changes)
    with pytest.raises(InvalidInput):
        other.check_specs()


def test_warnings_stand_on_the_page(card):
    results = {**card.results, "flags": ["gradients vanish"]}
    assert "- warning: gradients vanish" in dataclasses.replace(card, results=results).markdown()


def test_the_front_matter_is_what_hugging_face_reads(card):
    head = card.markdown().split("---\n")[1]
    values = {key: json.loads(text) for key, text in (line.split(": ", 1) for line in head.splitlines())}
    assert values["license"] == "apache-2.0" and values["library_name"] == "keras"
    (entry,) = values["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == card.name and result["dataset"]["type"] == card.data["name"]
    bounded = [row for row in card.results["attacks"] if row["robust_accuracy"] is not None]
    found = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert found["accuracy, clean"] == round(card.results["clean_accuracy"], 4)
    assert bounded and len(found) == 1 + len(bounded)
    for row in bounded:
        assert found[f"accuracy, {row['spec']}"] == round(row["robust_accuracy"], 4)
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(card.markdown()).data  # as the site does
    assert read.license == "apache-2.0" and len(read.eval_results) == len(found)


def test_a_page_for_hugging_face_names_no_file_and_no_licence_that_is_none(card):
    data = {**card.data, "name": "/home/me/my data/set.npz"}
    other = dataclasses.replace(card, licence="not stated", data=data)
    head = dict(line.split(": ", 1) for line in other.markdown().split("---\n")[1].splitlines())
    assert json.loads(head["license"]) == "unknown" and json.loads(head["datasets"]) == ["set"]
    assert "/home/me" not in other.markdown().split("---\n")[1]


def test_a_card_shows_what_its_training_took_and_how_it_went(card, tmp_path):
    best = {"epoch": 2, "seconds": 5.0, "loss": 0.51234, "val_accuracy": 0.9, "val_robust_accuracy": 0.5}
    whole = dataclasses.replace(card, training={**TOOK, "curve": [ROW_1, best]})
    whole.save(tmp_path)
    assert ModelCard.read(tmp_path) == whole
    page = whole.markdown()
    assert f"trained in {card.seconds:.0f} s, 1.00e+17 FLOP" in page
    rows = page.split("## Training")[1].split("##")[0].splitlines()
    assert "| epoch | seconds | loss | accuracy | held out | held out, under attack |" in rows
    assert "| 1 | 2 | 2.3 | 40.0% | - | - |" in rows
    assert "| 2 | 5 | 0.5123 | - | 90.0% | 50.0% |" in rows
    assert "## Training" not in card.markdown()


def test_a_card_says_what_it_was_audited_at(card):
    again = card.with_audit(["a finding"], Linf(eps=0.3), 50)
    assert "At `linf(eps=0.3)`, on 50 images.\n\n- a finding\n" in again.markdown()
    assert again.audited == {"threat": "linf(eps=0.3)", "n": 50}
    bad = dataclasses.replace(card, audited={"threat": "nothing()", "n": 50})
    with pytest.raises(InvalidInput):
        bad.check_specs()


def test_the_papers_figure_stands_beside_the_measured_one(card):
    def row(spec, **more):
        return {**card.results["attacks"][0], "spec": spec, "full_spec": spec, **more}

    rows = [
        row("pgd(threat=linf(eps=8/255), steps=20)", robust_accuracy=0.525),
        row("pgd(threat=linf(eps=0.1))", robust_accuracy=0.1),
        row("fgsm(threat=linf(eps=8/255, box=False))", robust_accuracy=0.3),
        row("autoattack(threat=linf(eps=8/255))", robust_accuracy=0.475),
        row("deepfool()", robust_accuracy=None, interval=None, mean_norm=1.5, mean_ratio=0.25),
    ]
    reported = {
        "CIFAR-10 WRN, linf 0.031: clean / PGD-20": "84.92% / 56.61% (AutoAttack: 53.08%)",
        "CIFAR-10, rho = mean |r|/|x| by DeepFool": "0.3",
        "CIFAR-10, FGSM and adaptive PGD, linf 8/255": "50%",
        "CIFAR-100 WRN, linf 8/255: clean / PGD": "60% / 30%",
        "MNIST, error": "1%",
    }
    results = {**card.results, "clean_accuracy": 0.8, "attacks": rows}
    data = {**card.data, "name": "cifar10"}
    page = dataclasses.replace(card, data=data, results=results, reported=reported).markdown()
    table = [line.rsplit(" | ", 1) for line in page.splitlines() if line.startswith(("| CIFAR", "| MNIST"))]
    assert [ours for _, ours in table] == [
        "clean 80.00%; `pgd(threat=linf(eps=8/255), steps=20)` 52.50%; "
        "`autoattack(threat=linf(eps=8/255))` 47.50% |",
        "`deepfool()` rho 0.250 |",
        *["- |"] * 3,
    ]
    assert r"mean \|r\|/\|x\| by DeepFool: 0.3" in table[1][0]
    other = dataclasses.replace(card, data=data, results=results, reported={"MNIST, error": "1%"}).markdown()
    assert "\n- MNIST, error: 1%\n" in other
