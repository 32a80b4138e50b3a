"""The main job, end to end, at small scale."""

import csv
import dataclasses
import json
import shutil

import keras
import pytest

import keras_adv
from keras_adv import InvalidInput, artifact, files, registry, run_folder, training, zoo
from keras_adv.card import ModelCard
from keras_adv.fingerprint import sha256
from keras_adv.recipes import Recipe

RECIPE = (
    "recipe(defense=adversarial(attack=fgsm(threat=linf(eps=0.1))), model=mlp(units=(32,)), epochs=3, "
    "normalize=True)"
)
SHORT = Recipe(defense="standard()", model="mlp(units=(8,))", epochs=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    card = keras_adv.train(RECIPE, out, attacks=["fgsm()", "deepfool()"], n=40, verbose=0)
    return out, card


def test_run_folder_is_complete(run):
    out, _ = run
    names = {p.name for p in out.iterdir()}
    assert names == {
        ".lock", "model.keras", "saved_model", "card.json", "README.md", "history.csv", "tensorboard",
        "curves.png", "examples.png", "records.npz", "recipe.txt", "backup",
    }  # fmt: skip
    assert len((out / "history.csv").read_text().splitlines()) == 4


def test_card_tells_of_the_written_artifact(run, digits):
    out, card = run
    assert ModelCard.read(out) == card
    assert card.sha256 == sha256(out / "model.keras") and card.bytes == (out / "model.keras").stat().st_size
    model = artifact.read(out / "model.keras")
    again = keras_adv.evaluate(model, digits.test[0][:40], digits.test[1][:40], ["fgsm()", "deepfool()"])
    for ours, theirs in zip(card.results["attacks"], again["attacks"], strict=True):
        assert ours["robust_accuracy"] == theirs["robust_accuracy"]
        assert ours["mean_norm"] == pytest.approx(theirs["mean_norm"], rel=1e-5)
    assert registry.spec(registry.parse("recipe", card.recipe), full=True) == card.recipe
    assert card.recipe in (out / "README.md").read_text()


def test_a_card_says_where_it_was_trained(run):
    _, card = run
    assert set(card.versions) == {"keras_adv", "python", "keras", "backend", "processor"}
    assert all(card.versions.values()) and card.versions["backend"].split()[0] in ("tensorflow", "jax")


def test_a_card_says_what_the_training_took_and_how_it_went(run):
    out, card = run
    forward = 2 * (64 * 32 + 32 * 10)
    images = 1293 // 50 * 50  # of 1437 without a tenth, in whole batches
    flop = 3 * images * (2 + 3) * forward  # three epochs; FGSM and a training pass
    curve = card.training["curve"]
    assert {**card.training, "curve": None} == {
        "flop": flop, "forward_flop": forward, "epochs": 3, "curve": None
    }  # fmt: skip
    logged = list(csv.DictReader((out / "history.csv").open()))
    assert [row["epoch"] for row in curve] == [1, 2, 3] and set(curve[0]) >= {"loss", "accuracy"}
    for ours, theirs in zip(curve, logged, strict=True):
        assert ours["val_accuracy"] == pytest.approx(float(theirs["val_accuracy"]), rel=1e-4)
    assert card.audited == {"threat": "linf(eps=0.1)", "n": 40}


def test_a_card_of_an_earlier_version_is_completed_from_the_history(run, tmp_path):
    out, card = run
    shutil.copytree(out, tmp_path / "run")
    dataclasses.replace(card, training=None).save(tmp_path / "run")
    assert keras_adv.train(RECIPE, tmp_path / "run", verbose=0) == card
    assert ModelCard.read(tmp_path / "run") == card


def test_a_finished_run_is_not_trained_again(run):
    out, card = run
    before = (out / "model.keras").stat().st_mtime_ns
    assert keras_adv.train(RECIPE, out, verbose=0) == card
    assert (out / "model.keras").stat().st_mtime_ns == before


@pytest.fixture
def unmeasured(monkeypatch):
    """What follows a training and is not looked at here is left out."""
    for name, instead in (("audit", []), ("export", None), ("_picture", None)):
        monkeypatch.setattr(training, name, lambda *_, instead=instead, **__: instead)


def killed():
    raise RuntimeError("killed")


@pytest.mark.slow
def test_a_finished_run_goes_on_to_more_epochs_as_if_it_had_been_so_long(tmp_path, unmeasured):
    options = {"attacks": [], "n": 40, "verbose": 0}
    short, longer, out = SHORT, SHORT.replace(epochs=3), tmp_path / "run"
    keras_adv.train(short, out, **options)
    with pytest.raises(InvalidInput, match="of the same recipe"):
        keras_adv.train(longer, out, **options)
    with pytest.raises(InvalidInput, match="of the same recipe"):
        keras_adv.train(longer.replace(seed=1), out, extend=True, **options)
    with pytest.raises(InvalidInput, match="of the same recipe"):
        keras_adv.train(short.replace(epochs=1), out, extend=True, **options)
    before = keras_adv.train(short, out, **options)
    with pytest.raises(InvalidInput, match="`verbose`"):
        keras_adv.train(longer, out, extend=True, **{**options, "verbose": "x"})
    assert keras_adv.train(short, out, **options) == before  # nothing was claimed
    stop = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: killed())
    with pytest.raises(RuntimeError, match="killed"):
        keras_adv.train(longer, out, extend=True, callbacks=[stop], **options)
    assert zoo.verify(out) == before  # which stays until the longer one is whole
    card = keras_adv.train(longer, out, extend=True, **options)
    assert zoo.verify(out) == card == keras_adv.train(longer, out, extend=True, **options)
    assert card == keras_adv.train(longer, out, **options)
    whole = keras_adv.train(longer, tmp_path / "whole", **options)
    assert (card.recipe, card.results, card.probe) == (whole.recipe, whole.results, whole.probe)
    assert len((out / "history.csv").read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_run_that_cannot_go_on_is_left_as_it_is(tmp_path, unmeasured):
    timed = SHORT.replace(defense="standard(optimizer=sgd(schedule=cosine()))")
    for name, recipe in (("timed", timed), ("bare", SHORT)):
        card = keras_adv.train(recipe, tmp_path / name, attacks=[], n=40, verbose=0)
        if name == "bare":
            shutil.rmtree(tmp_path / name / "backup")
        with pytest.raises(
            InvalidInput, match="without an average and without" if name == "timed" else "backup"
        ):
            keras_adv.train(recipe.replace(epochs=3), tmp_path / name, extend=True, verbose=0)
        assert zoo.verify(tmp_path / name) == card
        assert keras_adv.train(recipe, tmp_path / name, verbose=0) == card


def test_publish_verify_and_load(run, tmp_path, monkeypatch, digits):
    out, card = run
    monkeypatch.setenv("KERAS_ADV_ZOO", str(tmp_path))
    assert keras_adv.zoo.publish(out) == tmp_path / card.name
    assert card.name in keras_adv.zoo.list() and keras_adv.zoo.card(card.name) == card
    assert keras_adv.zoo.verify(card.name) == card
    model = keras_adv.zoo.load(card.name)
    assert type(model) is type(artifact.read(out / "model.keras"))
    loaded = json.loads((tmp_path / card.name / "card.json").read_text())
    loaded["probe"][0][0] += 1
    (tmp_path / card.name / "card.json").write_text(json.dumps(loaded))
    with pytest.raises(keras_adv.InvalidInput, match="probe"):
        keras_adv.zoo.verify(card.name)


def test_a_recipe_can_start_from_a_trained_model(tmp_path, unmeasured):
    recipe = Recipe(
        defense=registry.parse("defense", "label_smoothing(optimizer=sgd(learning_rate=1e-6))"),
        data="digits",
        epochs=1,
        start="standard_lenet_digits",
    )
    card = keras_adv.train(recipe, tmp_path / "run", attacks=[], verbose=0)
    assert card.results["clean_accuracy"] == zoo.card("standard_lenet_digits").results["clean_accuracy"]
    with pytest.raises(InvalidInput, match="`name` must be"):
        keras_adv.train(recipe.replace(start="nothing"), tmp_path / "other", verbose=0)
    assert not (tmp_path / "other").exists()


def test_a_folder_is_trained_in_by_one_at_a_time(tmp_path):
    recipe = "recipe(defense=standard(), model=mlp(units=(8,)), epochs=1)"
    run_folder.claim_folder(tmp_path / "run", registry.spec(registry.parse("recipe", recipe)))
    told = "`out` must be a folder that no other process is using"
    with files.sole_use(tmp_path / "run"), pytest.raises(InvalidInput, match=told):
        keras_adv.train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "history.csv").exists()


def test_a_data_file_with_a_space_in_its_name_makes_a_card_that_can_be_read():
    assert Recipe(data="sets/my data[1].npz").title == "critic_lenet_my_data_1_"
