"""Searches over the tunable fields of a recipe."""

import pytest

import keras_adv
from keras_adv import registry, training
from keras_adv.card import ModelCard

RECIPE = "recipe(defense=adversarial(attack=fgsm(threat=linf(eps=0.1))), model=mlp(units=(16,)), epochs=1)"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What comes after a trial's training, and is not looked at here, is left out."""
    monkeypatch.setattr(training, "audit", lambda *_: [])
    monkeypatch.setattr(training, "export", lambda *_: None)
    monkeypatch.setattr(training, "_picture", lambda *_: None)


def test_search_ranks_recipes_and_writes_the_best(tmp_path):
    board = keras_adv.search(RECIPE, tmp_path / "s", objective="clean", trials=2)
    assert len(board) == 2 and board[0]["clean"] >= board[1]["clean"]
    assert (tmp_path / "s" / "best_recipe.txt").read_text().strip() == board[0]["recipe"]
    first = ModelCard.read(tmp_path / "s" / "trial_0")
    assert first.data["split"] == "validation"
    assert registry.parse("recipe", first.recipe) == registry.parse("recipe", RECIPE)


def test_a_search_needs_an_objective_that_is_there(tmp_path):
    with pytest.raises(keras_adv.InvalidInput, match="`objective` must be one of"):
        keras_adv.search("recipe()", tmp_path, objective="speed")
