"""What a budget makes of recipes and attacks."""

import pytest

from keras_adv import registry
from keras_adv.experiments import ALL, budgets
from keras_adv.experiments.base import Net

NET = Net("trades_mnist", "trades_lenet_mnist")


def test_paper_is_the_recipe_itself_but_for_the_place_of_its_data():
    recipe = budgets.recipe_of(NET, "paper", {"mnist": "here/mnist.npz"})
    assert recipe == registry.parse("recipe", "trades_mnist").replace(data="here/mnist.npz")


def test_small_is_an_entry_of_the_zoo_or_changes_the_recipe():
    assert budgets.entry(NET, "small") == "trades_lenet_mnist" and budgets.entry(NET, "paper") is None
    changed = budgets.recipe_of(Net("trades_mnist", {"epochs": 2, "model": "lenet()"}), "small", {})
    assert changed == registry.parse("recipe", "trades_mnist(epochs=2, model=lenet())")


def test_smoke_is_one_epoch_of_digits_with_few_steps():
    recipe = budgets.recipe_of(NET, "smoke", {"digits": "elsewhere.npz"})
    assert (recipe.epochs, recipe.data, recipe.start) == (1, "elsewhere.npz", None)
    assert recipe.defense.attack.steps == budgets.STEPS
    assert recipe.defense.weight == registry.parse("recipe", "trades_mnist").defense.weight


@pytest.mark.parametrize(
    ("spec", "light"),
    [
        ("pgd(threat=linf(eps=0.1), steps=40, restarts=5)", "pgd(threat=linf(eps=0.1), steps=3)"),
        ("fgsm(threat=linf(eps=0.1))", "fgsm(threat=linf(eps=0.1))"),
        ("pgd(threat=linf(eps=0.1), steps=2)", "pgd(threat=linf(eps=0.1), steps=2)"),
        (
            "worst(threat=l2(eps=1), attacks=(ddn(), pgd(threat=l2(eps=1), steps=9)))",
            "worst(threat=l2(eps=1), attacks=(ddn(steps=3), pgd(threat=l2(eps=1), steps=3)))",
        ),
    ],
)
def test_lighter_takes_steps_away_and_nothing_else(spec, light):
    assert budgets.lighter(registry.parse("attack", spec)) == registry.parse("attack", light)


def test_images_are_never_more_than_the_papers():
    assert budgets.images(ALL["afd.table_a3_mnist"], "small") == 100
    assert budgets.images(ALL["afd.table1_mnist"], "small") == 1000
    assert budgets.images(ALL["afd.table1_mnist"], "paper") == 10000
