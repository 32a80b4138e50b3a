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


@pytest.fixture
def card():
    return zoo.card("standard_lenet_digits")


def test_a_card_reads_back_as_it_was_written(card, tmp_path):
    card.save(tmp_path)
    assert ModelCard.read(tmp_path) == card
    assert (tmp_path / "README.md").read_text() == card.markdown()


@pytest.mark.parametrize("version", range(1, SCHEMA))
def test_a_card_of_every_older_schema_reads_as_one_of_the_newest(version, tmp_path):
    kept = Path(__file__).parent / "cards" / f"schema_{version}.json"  # written when it was the newest
    written = json.loads(kept.read_text())
    shutil.copy(kept, tmp_path / "card.json")
    found = ModelCard.read(tmp_path)
    assert written["schema"] == version and found.schema == SCHEMA
    same = {name: value for name, value in dataclasses.asdict(found).items() if name in written}
    assert {**same, "schema": version} == written
    found.check_specs()
    found.save(tmp_path)
    assert json.loads((tmp_path / "card.json").read_text())["schema"] == SCHEMA
    assert ModelCard.read(tmp_path) == found


def test_a_card_of_an_older_schema_has_nothing_of_a_newer_one(card, tmp_path):
    values = {**dataclasses.asdict(card), "schema": 1}  # schema 1 knows no origin
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(InvalidInput, match="origin: Extra inputs"):
        ModelCard.read(tmp_path)


def test_a_trained_net_without_results_is_no_card(card, tmp_path):
    with pytest.raises(InvalidInput, match=r"`card` must follow schema 2.*results\.n"):
        dataclasses.replace(card, results={}).save(tmp_path)


def test_a_card_keeps_curves_and_worst_cases_and_none_is_written_that_is_no_card(net, digits, card, tmp_path):
    x, y = digits.test[0][:20], digits.test[1][:20]
    both = ["fgsm()", "pgd(steps=2)"]
    found = keras_adv.evaluate(net, x, y, both, eps=[0.1, 0.2])
    assert "worst" in found and "curve" in found["attacks"][0]
    whole = dataclasses.replace(card, results=found)
    whole.save(tmp_path)
    assert ModelCard.read(tmp_path) == whole
    assert "worst" not in whole.with_attacks({**found, "attacks": []}).results
    with pytest.raises(InvalidInput, match=r"`card` must follow schema 2.*unknown"):
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
    **{f"no {name}": lambda values, name=name: without(values, "results", name) for name in ("n", "attacks")},
    **{f"a row without {name}": lambda values, name=name: without(values, *ROW, name) for name in FIELDS},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_card_of_another_form_is_refused_in_a_short_line(card, kind, tmp_path):
    values = dataclasses.asdict(card)
    BAD[kind](values)
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(InvalidInput, match="`card` must follow schema 2") as caught:
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
