"""A card reads back as it was written, grows by attacks of the same images, or is refused."""

import dataclasses
import json

import pytest

from keras_adv import InvalidInput, zoo
from keras_adv.card import ModelCard


@pytest.fixture
def card():
    return zoo.card("standard_lenet_digits")


def test_a_card_reads_back_as_it_was_written(card, tmp_path):
    card.save(tmp_path)
    assert ModelCard.read(tmp_path) == card
    assert (tmp_path / "README.md").read_text() == card.markdown()


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


@pytest.mark.parametrize("change", [{"schema": 7}, {"name": "../up"}, {"data": {}}, {"sha256": 3}])
def test_a_card_of_another_form_is_refused(card, change, tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({**dataclasses.asdict(card), **change}))
    with pytest.raises(InvalidInput, match="`card` must"):
        ModelCard.read(tmp_path)
