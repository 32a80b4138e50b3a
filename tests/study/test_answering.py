"""What people give back, and the key: nothing of another study, twice, or damaged is counted."""

import json

import pytest

from keras_adv import InvalidInput, study
from keras_adv.study import key as keys


def test_files_come_back_as_they_were_given(key, person, files):
    people = [person(0, {0: 1, 4: None}), person(1, {})]
    assert study.read_answers(files(*people), key) == people


def changed(one, n=0, **what):
    return {**one, "answers": [{**a, **(what if k == n else {})} for k, a in enumerate(one["answers"])]}


BAD = {
    "another study": (lambda one: {**one, "study": "6" * 12}, "of study 555555555555"),
    "no JSON": (lambda one: json.dumps(one)[:-20], "Invalid JSON"),
    "empty": (lambda one: "", "Invalid JSON"),
    "a list": (lambda one: "[]", "the whole"),
    "a key": (lambda one: {**one, "format": "keras_adv study key"}, "format"),
    "a later version": (lambda one: {**one, "version": 2}, "version"),
    "no participant": (lambda one: {k: v for k, v in one.items() if k != "participant"}, "participant"),
    "more than is known": (lambda one: {**one, "name": "Ann"}, "name"),
    "a foreign image": (lambda one: changed(one, image="f" * 10), "ffffffffff"),
    "an image twice": (lambda one: {**one, "answers": one["answers"][:1] * 2}, "several for 0000000000"),
    "no such class": (lambda one: changed(one, label=5), "classes below 5"),
    "a class below 0": (lambda one: changed(one, label=-1), "answers.0.label"),
    "a class in words": (lambda one: changed(one, label="3"), "answers.0.label"),
    "a confidence of 6": (lambda one: changed(one, confidence=6), "answers.0.confidence"),
    "sure of nothing": (lambda one: changed(one, label=None), "without confidence"),
    "no time": (lambda one: changed(one, answered="today"), "answers.0.answered"),
    "a day that is none": (lambda one: changed(one, shown="2026-02-30T10:00:00.000Z"), "answers.0.shown"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_damaged_or_foreign_is_refused_with_the_file(case, key, person, files):
    spoil, words = BAD[case]
    good, bad = person(0, {0: 1}), spoil(person(1, {0: 1, 4: 2}))
    with pytest.raises(InvalidInput, match="`answers` must be") as error:
        study.read_answers(files(good, bad), key)
    assert words in str(error.value) and "answers1.json" in str(error.value)


def test_no_file_and_a_missing_one_and_two_of_one_person_are_refused(key, person, files, tmp_path):
    with pytest.raises(InvalidInput, match="`answers` must be the files"):
        study.read_answers([], key)
    with pytest.raises(InvalidInput, match=r"none\.json \(No such file"):
        study.read_answers([tmp_path / "none.json"], key)
    with pytest.raises(InvalidInput, match=r"one file of each person.*answers0.*answers1"):
        study.read_answers(files(person(0, {0: 1}), person(0, {1: 1})), key)


def test_a_key_is_checked_whole(key, files, monkeypatch):
    (good,) = files(key)
    assert study.read_key(good) == key
    first, clean = "0" * 10, f"{4:010x}"
    for image, what in (
        (first, {"label": 5}),
        (first, {"adversarial_label": 9}),
        (first, {"adversarial_label": 0}),  # its own label
        (clean, {"adversarial_label": 1}),
        (first, {"norm": -1.0}),
        (first, {"model": "another"}),
    ):
        images = {**key["images"], image: {**key["images"][image], **what}}
        with pytest.raises(InvalidInput, match="`key` must be"):
            study.read_key(files({**key, "images": images})[0])
    for wrong in ({**key, "images": {}}, {**key, "study": "x"}, "{"):
        with pytest.raises(InvalidInput, match="`key` must be"):
            study.read_key(files(wrong)[0])
    monkeypatch.setattr(keys, "LARGEST", 10)
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        study.read_key(good)
