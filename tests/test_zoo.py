"""Every entry of the zoo keeps what its card says."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from sampled import sampled

import keras_adv
from keras_adv import InvalidInput, registry, zoo
from keras_adv.features import encoder, with_fresh_weights
from keras_adv.pages import leaderboard
from keras_adv.pages import zoo as pages

ENTRIES = [f"{defense}_lenet_digits" for defense in ("adversarial", "critic", "margin", "standard")]
"""The entries whose data are embedded."""


@pytest.mark.parametrize("name", zoo.list())
def test_entry_verifies(name):
    card = zoo.verify(name)
    assert card.name == name and card.bytes < 25 * 2**20


@pytest.mark.parametrize("name", sampled(ENTRIES, "critic_lenet_digits"))
def test_entry_still_measures_as_its_card_says(name):
    card = zoo.card(name)
    x, y = keras_adv.data.load("digits").split(card.data["split"])
    model = zoo.load(name)
    clean = (np.asarray(model(x, training=False)).argmax(1) == y).mean()
    assert clean == pytest.approx(card.results["clean_accuracy"], abs=1e-6)
    row = next(r for r in card.results["attacks"] if r["spec"].startswith("pgd(threat=linf"))
    again = keras_adv.evaluate(model, x, y, [row["spec"]])["attacks"][0]
    assert again["robust_accuracy"] == pytest.approx(row["robust_accuracy"], abs=0.01)


@pytest.mark.parametrize("name", zoo.list())
def test_page_of_an_entry_is_its_card_and_its_command_survives_a_shell(name):
    card = zoo.card(name)
    page = (zoo.path(name) / "README.md").read_text()
    assert page == card.markdown()
    command = shlex.split(page.split("Trained by `")[1].split("`")[0])
    assert command == ["python", "scripts/train.py", f"--recipe={card.recipe}"]
    registry.parse("recipe", card.recipe)


def test_entries_are_found_by_name_defense_and_threat():
    assert set(zoo.list("*_digits")) == set(ENTRIES)
    assert zoo.list("*_digits", defense="critic") == ["critic_lenet_digits"]
    assert "adversarial_lenet_digits" in zoo.list(threat="linf") and "critic_lenet_digits" in zoo.list(
        threat="l2"
    )
    assert "standard_lenet_digits" not in zoo.list(threat="linf")
    with pytest.raises(InvalidInput, match=r"`defense` must be one of .* Did you mean 'critic'"):
        zoo.list(defense="critik")


def test_first_entries_are_there():
    assert set(ENTRIES) <= set(zoo.list())


def test_critic_needs_larger_perturbations_than_no_defense():
    norm = {}
    for name in ("standard_lenet_digits", "critic_lenet_digits"):
        rows = zoo.card(name).results["attacks"]
        norm[name] = next(r["mean_norm"] for r in rows if r["spec"].startswith("pdgd"))
    assert norm["critic_lenet_digits"] >= 1.4 * norm["standard_lenet_digits"]
    assert np.isfinite(list(norm.values())).all()


def test_readme_and_the_page_of_results_show_the_cards():
    root = Path(__file__).parents[1]
    page = (root / "README.md").read_text()
    assert page.split("<!-- zoo -->\n")[1].split("<!-- /zoo -->")[0] == pages.table()
    assert (root / "docs" / "results.md").read_text() == pages.results(root / "docs" / "cards")


def test_an_entry_for_other_classes_keeps_its_layers_and_has_a_fresh_end():
    whole, other = zoo.load("mat_lenet_mnist"), zoo.load("mat_lenet_mnist", classes=7)
    x = np.random.default_rng(0).random((3, 28, 28, 1)).astype("float32")
    assert other(x).shape == (3, 7) and other.layers[-1].trainable
    np.testing.assert_allclose(*(np.asarray(encoder(net)(x)) for net in (whole, other)), atol=1e-5)
    with pytest.raises(InvalidInput, match="`classes` must be a whole number of at least 2"):
        zoo.load("mat_lenet_mnist", classes=1)


@pytest.mark.parametrize("name", sampled(["mmc_lenet_mnist", "standard_wrn_cifar10"], "mmc_lenet_mnist"))
def test_an_entry_without_weights_is_the_same_net_drawn_anew_but_for_what_is_fixed(name):
    old, fresh = zoo.load(name), zoo.load(name, weights=False)
    assert [w.shape for w in fresh.weights] == [w.shape for w in old.weights]
    pairs = zip(old.trainable_weights, fresh.trainable_weights, strict=True)
    kernels = [(a, b) for a, b in pairs if len(a.shape) > 1]
    assert all(np.abs(np.asarray(a) - np.asarray(b)).max() > 0 for a, b in kernels)
    fixed = [w for w in old.non_trainable_weights if "moving" not in w.name]
    same = [w for w in fresh.non_trainable_weights if "moving" not in w.name]
    for a, b in zip(fixed, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(
        np.ptp(np.asarray(w)) == 0 for w in fresh.non_trainable_weights if "moving" in w.name
    )  # as before any training


def test_a_net_drawn_anew_keeps_what_normalization_has_seen():
    x = np.random.default_rng(0).random((50, 4, 4, 1)).astype("float32") * 7 + 3
    seen = keras.layers.Normalization()
    seen.adapt(x)
    net = keras.Sequential([keras.Input((4, 4, 1)), seen, keras.layers.Flatten(), keras.layers.Dense(3)])
    fresh = with_fresh_weights(net)
    np.testing.assert_allclose(fresh.layers[0](x), seen(x), atol=1e-6)


def card_of(name, rows, clean=0.9, **more):
    """A card that has only what a leaderboard reads."""
    span = {"interval": [0.0, 1.0], "mean_norm": None}
    attacks = [{"spec": spec, "robust_accuracy": held, **span} for spec, held in rows.items()]
    results = {"clean_accuracy": clean, "n": 100, "attacks": attacks}
    return SimpleNamespace(name=name, results=results, audit=more.get("audit", []), data={"name": "cifar10"})


def test_what_lies_outside_the_box_is_not_in_the_table():
    wild = {f"{name}(threat=linf(eps=0.1, box=False))": 0.05 for name in ("fgsm", "pgd")}
    card = card_of("a", wild | {"pgd(threat=linf(eps=0.1))": 0.6})
    assert pages.most_attacked(card) == ("0.1", "60.0%", "60.0%")


def test_a_leaderboard_ranks_by_what_the_strongest_attack_leaves_at_the_threat_most_nets_have():
    eps = "threat=linf(eps=8/255)"
    cards = [
        card_of("masked", {f"pgd({eps})": 0.9, f"autoattack({eps})": 0.1}, audit=["x", "y"]),
        card_of("other", {"pgd(threat=linf(eps=0.1))": 0.99, "fgsm(threat=linf(eps=0.1))": 0.99}),
        card_of("strong", {f"pgd({eps})": 0.6, f"autoattack({eps})": 0.55}),
        card_of("plain", {f"pgd({eps})": 0.0, "deepfool()": None}),
    ]
    lines = list(leaderboard.board("cifar10", cards))
    assert lines[0] == "### cifar10, `linf(eps=8/255)`"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:-1]]
    assert all(len(row) == len(leaderboard.HEADS) for row in cells)
    assert [row[0] for row in cells if row[0]] == ["1", "2", "3", "4"]
    ours = [row for row in cells if row[0]]
    assert [row[1].split("]")[0][1:] for row in ours] == ["strong", "masked", "plain", "other"]
    assert ours[1][3:6] == ["90.0%", "**10.0%** (0.0% to 100.0%)", "autoattack"] and "2 found" in ours[1][8]
    assert ours[3][3:6] == ["-", "-", "-"]
    held = [float(row[4].strip("*").split("%")[0]) for row in cells if "%" in row[4]]
    assert held == sorted(held, reverse=True) and 73.7 in held  # the published stand among them
