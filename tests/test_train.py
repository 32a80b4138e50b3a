"""The main job, end to end, at small scale."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_adv
from keras_adv import InvalidInput, artifact, registry, zoo
from keras_adv.card import ModelCard, sha256
from keras_adv.recipes import Recipe

RECIPE = "recipe(defense=adversarial(attack=pgd(threat=linf(eps=0.1), steps=2)), epochs=3, normalize=True)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    card = keras_adv.train(RECIPE, out, attacks=["fgsm()", "deepfool()"], n=60, verbose=0)
    return out, card


def test_run_folder_is_complete(run):
    out, _ = run
    names = {p.name for p in out.iterdir()}
    assert names == {
        "model.keras", "saved_model", "card.json", "README.md", "history.csv", "tensorboard", "curves.png",
        "examples.png", "recipe.txt",
    }  # fmt: skip
    assert len((out / "history.csv").read_text().splitlines()) == 4


def test_card_tells_of_the_written_artifact(run, digits):
    out, card = run
    assert ModelCard.read(out) == card
    assert card.sha256 == sha256(out / "model.keras") and card.bytes == (out / "model.keras").stat().st_size
    model = artifact.read(out / "model.keras")
    again = keras_adv.evaluate(model, digits.test[0][:60], digits.test[1][:60], ["fgsm()", "deepfool()"])
    for ours, theirs in zip(card.results["attacks"], again["attacks"], strict=True):
        assert ours["robust_accuracy"] == theirs["robust_accuracy"]
        assert ours["mean_norm"] == pytest.approx(theirs["mean_norm"], rel=1e-5)
    assert registry.spec(registry.parse("recipe", card.recipe), full=True) == card.recipe
    assert card.recipe in (out / "README.md").read_text()


def test_a_finished_run_is_not_trained_again(run):
    out, card = run
    before = (out / "model.keras").stat().st_mtime_ns
    assert keras_adv.train(RECIPE, out, verbose=0) == card
    assert (out / "model.keras").stat().st_mtime_ns == before


def test_saved_model_serves_without_this_package(run, digits):
    out, _ = run
    x = digits.test[0][:7]
    np.save(out.parent / "x.npy", x)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        "sys.modules['keras_adv'] = None\n"
        f"m = tf.saved_model.load({str(out / 'saved_model' / '1')!r})\n"
        f"x = np.load({str(out.parent / 'x.npy')!r})\n"
        "r = {k: v.numpy() for k, v in m.signatures['serving_default'](images=tf.constant(x)).items()}\n"
        "r['features'] = m.signatures['features'](images=tf.constant(x[:3]))['features'].numpy()\n"
        f"np.savez({str(out.parent / 'r.npz')!r}, **r)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out.parent / "r.npz") as served:
        model = artifact.read(out / "model.keras")
        z = model.predict(x, verbose=0)
        np.testing.assert_allclose(served["logits"], z, atol=1e-5)
        np.testing.assert_array_equal(served["label"], z.argmax(1))
        np.testing.assert_allclose(served["probabilities"].sum(1), 1, rtol=1e-5)
        inner = keras.Model(model.inputs, model.get_layer("features").output)
        np.testing.assert_allclose(served["features"], inner.predict(x[:3], verbose=0), atol=1e-5)


def test_export_keeps_its_hands_off_other_folders(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(keras_adv.InvalidInput, match="a SavedModel"):
        keras_adv.export(run[0] / "model.keras", tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


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


def test_defend_trains_a_users_own_model(digits):
    keras.utils.set_random_seed(0)
    own = keras.Sequential([keras.Input(digits.shape), keras.layers.Flatten(), keras.layers.Dense(10)])
    served = keras_adv.defend(own, "standard", *digits.train, epochs=15, batch_size=50, verbose=0)
    assert served is own
    assert (own.predict(digits.test[0], verbose=0).argmax(1) == digits.test[1]).mean() > 0.7


def test_search_ranks_recipes_and_writes_the_best(tmp_path):
    recipe = (
        "recipe(defense=adversarial(attack=fgsm(threat=linf(eps=0.1))), model=mlp(units=(16,)), epochs=2)"
    )
    board = keras_adv.search(recipe, tmp_path / "s", objective="clean", trials=2)
    assert len(board) == 2 and board[0]["clean"] >= board[1]["clean"]
    assert (tmp_path / "s" / "best_recipe.txt").read_text().strip() == board[0]["recipe"]
    first = ModelCard.read(tmp_path / "s" / "trial_0")
    assert first.data["split"] == "validation"
    assert registry.parse("recipe", first.recipe) == registry.parse("recipe", recipe)


def test_search_needs_something_to_tune(tmp_path):
    with pytest.raises(keras_adv.InvalidInput, match="`objective` must be one of"):
        keras_adv.search("recipe()", tmp_path, objective="speed")


def test_a_recipe_can_start_from_a_trained_model(digits, tmp_path):
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
