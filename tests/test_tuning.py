"""Searches over the tunable fields of a recipe."""

import json
import os
import socket
import subprocess
import sys
import zlib

import pytest

import keras_adv
from keras_adv import registry, training, tuning
from keras_adv.card import ModelCard

RECIPE = "recipe(defense=adversarial(attack=fgsm(threat=linf(eps=0.1))), model=mlp(units=(16,)), epochs=1)"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What comes after a trial's training, and is not looked at here, is left out."""
    monkeypatch.setattr(training, "audit", lambda *_, **__: [])
    monkeypatch.setattr(training, "export", lambda *_: None)
    monkeypatch.setattr(training, "_picture", lambda *_: None)


def test_the_first_trial_is_the_recipe_itself_measured_on_validation_images(tmp_path):
    (row,) = keras_adv.search(RECIPE, tmp_path / "s", objective="clean", trials=1)
    first = ModelCard.read(tmp_path / "s" / "trial_0")
    assert first.data["split"] == "validation" and row["clean"] == first.results["clean_accuracy"]
    assert row["robust"] == first.results["attacks"][0]["robust_accuracy"]
    assert registry.parse("recipe", first.recipe) == registry.parse("recipe", RECIPE)


def test_a_search_needs_an_objective_that_is_there(tmp_path):
    with pytest.raises(keras_adv.InvalidInput, match="`objective` must be one of"):
        keras_adv.search("recipe()", tmp_path, objective="speed")


@pytest.fixture
def cards(monkeypatch):
    """Searches that draw recipes and train none; what each trial was asked to do."""
    asked, made = [], {}

    def train(recipe, folder, **_):
        asked.append(registry.spec(recipe))
        folder.mkdir(parents=True, exist_ok=True)
        if len(asked) in train.diverge:
            raise FloatingPointError("Training diverged")
        made[folder] = Card(registry.spec(recipe))
        return made[folder]

    class Card:
        def __init__(self, recipe):
            self.recipe = recipe
            rows = [{"robust_accuracy": 0.5}, {"mean_norm": 1.0}]
            self.results = {"attacks": rows, "clean_accuracy": zlib.crc32(recipe.encode()) / 2**32}

    train.diverge = ()
    monkeypatch.setattr(tuning, "train", train)
    monkeypatch.setattr(tuning.ModelCard, "read", classmethod(lambda _, folder: made[folder]))
    return asked, train


def test_search_ranks_recipes_and_writes_the_best(cards, tmp_path):
    board = keras_adv.search(RECIPE, tmp_path, objective="clean", trials=5)
    found = [row["clean"] for row in board]
    assert found == sorted(found, reverse=True) and len(set(found)) == 5
    assert {row["recipe"] for row in board} == set(cards[0])
    assert (tmp_path / "best_recipe.txt").read_text().strip() == board[0]["recipe"]
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == board


def test_the_default_seed_is_a_seed_and_a_longer_search_begins_with_the_shorter(cards, tmp_path):
    asked, _ = cards
    for folder, trials in (("a", 3), ("b", 3), ("c", 11)):
        keras_adv.search(RECIPE, tmp_path / folder, trials=trials)
    assert asked[:3] == asked[3:6] == asked[6:9] and len(set(asked[6:])) == 11
    assert sorted(p.name for p in (tmp_path / "c").glob("trial_1*")) == ["trial_1", "trial_10"]


def test_half_of_a_file_of_keras_tuner_does_not_end_a_search(cards, tmp_path):
    board = keras_adv.search(RECIPE, tmp_path, trials=3)
    for file in (tmp_path / "tuner").rglob("*.json"):
        file.write_bytes(file.read_bytes()[:20])
    assert keras_adv.search(RECIPE, tmp_path, trials=3) == board


def test_trials_that_diverge_are_out_of_the_race_and_the_others_go_on(cards, tmp_path):
    _, train = cards
    train.diverge = (1, 2, 3, 4)
    assert len(keras_adv.search(RECIPE, tmp_path, trials=6)) == 2


def test_a_search_of_which_every_trial_diverges_says_so(cards, tmp_path):
    _, train = cards
    train.diverge = (1, 2)
    with pytest.raises(FloatingPointError, match="Every one of 2 trials diverged"):
        keras_adv.search(RECIPE, tmp_path, trials=2)


def test_an_error_that_is_no_divergence_ends_the_search(cards, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tuning, "train", full)
    with pytest.raises(OSError, match="No space left"):
        keras_adv.search(RECIPE, tmp_path, trials=2)


@pytest.mark.parametrize("given", [("TUNER_ID",), ("ORACLE_IP", "ORACLE_PORT")])
def test_half_of_an_environment_for_several_processes_is_refused(given, tmp_path, monkeypatch):
    for name in given:
        monkeypatch.setenv(f"KERASTUNER_{name}", "1")
    with pytest.raises(keras_adv.InvalidInput, match="`environment` must be with all of KERASTUNER_TUNER_ID"):
        keras_adv.search(RECIPE, tmp_path, trials=1)


SEARCH = """
import sys
import keras_adv
from keras_adv import training, tuning

training.audit, training.export, training._picture = lambda *_: [], lambda *_: None, lambda *_: None
plain = tuning.train

def train(recipe, folder, **options):
    if folder.name in ("trial_1", "trial_2", "trial_3"):
        raise FloatingPointError("diverged")
    return plain(recipe, folder, **options)

tuning.train = train
print(len(keras_adv.search(sys.argv[1], sys.argv[2], objective="clean", trials=6)))
"""


@pytest.mark.slow
def test_a_chief_and_two_workers_find_what_one_process_finds(tmp_path):
    """Three trials that diverge included."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    names = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    runs = {}
    for who in ("alone", "chief", "tuner0", "tuner1"):
        several = {} if who == "alone" else {**names, "KERASTUNER_TUNER_ID": who}
        out = tmp_path / ("alone" if who == "alone" else "several")
        command = [sys.executable, "-c", SEARCH, RECIPE, str(out)]
        runs[who] = subprocess.Popen(
            command, env={**os.environ, **several}, stdout=subprocess.PIPE, text=True
        )
    boards = {who: int(run.communicate(timeout=600)[0].splitlines()[-1]) for who, run in runs.items()}
    assert all(run.returncode == 0 for run in runs.values())
    assert boards == {"alone": 3, "chief": 3, "tuner0": 0, "tuner1": 0}
    one, other = (json.loads((tmp_path / n / "leaderboard.json").read_text()) for n in ("alone", "several"))
    assert sorted(one, key=lambda row: row["trial"]) == sorted(other, key=lambda row: row["trial"])
    assert (tmp_path / "several" / "best_recipe.txt").read_text().strip() == other[0]["recipe"]
