"""All tables and figures: what they say can be built, at every budget."""

import dataclasses

import pytest

from keras_adv import experiments, registry, zoo
from keras_adv.experiments import budgets
from keras_adv.validate import InvalidInput

ALL = experiments.ALL


def nets(experiment):
    return [one for row in experiment.rows for one in experiments.with_starts(row.net)]


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_can_be_read_and_every_entry_is_in_the_zoo(name):
    for net in nets(ALL[name]):
        for budget in experiments.BUDGETS:
            recipe = budgets.recipe_of(net, budget, {})
            assert registry.parse("recipe", registry.spec(recipe)) == recipe
        if isinstance(net.small, str):
            assert net.small in zoo.list()
        assert net.start is None or budgets.recipe_of(net, "paper", {}).start is None


@pytest.mark.parametrize("name", ALL)
def test_rows_have_a_figure_of_the_paper_for_each_column_of_the_paper(name):
    one = ALL[name]
    heads = [column.head for column in one.columns]
    labels = [row.label for row in one.rows]
    assert len(set(heads)) == len(heads) and len(set(labels)) == len(labels)
    for row in one.rows:
        assert list(one.papers(row)) == [column.head for column in one.columns if not column.own]


@pytest.mark.parametrize("name", ALL)
def test_claims_and_pictures_speak_of_rows_and_columns_that_are_there(name):
    one = ALL[name]
    labels, heads = {row.label for row in one.rows}, {column.head for column in one.columns}
    for claim in one.claims:
        for row, column in (claim.high, claim.low):
            assert row in labels and column in heads, claim
        assert claim.high != claim.low
    for part in (*one.plots, *(column.measure for column in one.columns)):
        named = {getattr(part, field, None) for field in ("row", "source")} - {None}
        assert named <= labels
        for field in dataclasses.fields(part):
            if field.name in ("attack", "first") and getattr(part, field.name) is not None:
                registry.parse("attack", getattr(part, field.name))


def test_every_paper_that_shows_pgd_alone_has_the_adaptive_attack_beside_it():
    for one in ALL.values():
        heads = [column.head for column in one.columns]
        shown = repr([*(column.measure for column in one.columns if "PGD" in column.head), *one.plots])
        if any(f"{kind}(attack='pgd(" in shown for kind in ("Accuracy", "At", "Area", "OverEps")):
            assert any(head.startswith("adaptive") for head in heads), one.name


SETS = ("mnist", "cifar10", "cifar100")
SHEET = {
    "madnet": (
        *("fig1", "fig2", "table1", "table2", "table3", "no_cap"),
        *(f"table4_{name}" for name in ("mnist", "cifar10", "cifar100")),
    ),
    "mat": (
        *(
            f"{table}_{name}"
            for table in ("table1", "table2", "table4", "table5", "fig2")
            for name in SETS[:2]
        ),
        "table3",
    ),
    "deep_defense": (
        *("table1_mlp", "table1_lenet", "table1_convnet", "table1_nin", "table1_imagenet"),
        *("fig2", "fig3_c", "fig3_lambda", "fig4", "with_fgsm"),
    ),
    "afd": (
        *(
            f"{table}_{name}"
            for table in ("table1", "table2", "table_a3", "table_a4", "table_a5")
            for name in SETS
        ),
        *("table_a6", "table_a7", "fig4", "fig_a3", "fig_a4", "fig_a5", "fig_a6", "fig_a7"),
    ),
    "thesis3": ("table1_mlp", "table1_lenet", "table2", "fig4", "fig5"),
    "thesis4": ("table1_mlp", "table1_lenet"),
    "thesis5": (
        *(f"table{k}_{norm}" for k in (1, 5) for norm in ("linf", "l2", "l1", "l0")),
        *(f"table{k}" for k in (2, 3, 4, 6, 7, 8)),
    ),
}
"""The tables and figures of the documents that have figures or pictures of nets."""


def test_every_table_and_figure_of_the_documents_is_there():
    assert {f"{document}.{item}" for document, items in SHEET.items() for item in items} <= set(ALL)


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(InvalidInput, match="table1_lenet"):
        experiments.find("deep_defense.table1_lennet")
    assert [one.name for one in experiments.find("thesis4.*")] == [
        "thesis4.table1_mlp",
        "thesis4.table1_lenet",
    ]


@pytest.mark.parametrize(
    ("name", "budget", "said"),
    [
        ("deep_defense.table1_lenet", "small", "nets of the zoo"),
        ("deep_defense.table1_lenet", "paper", "4 nets trained, 35 epochs"),
        ("deep_defense.fig2", "small", "1 nets trained, 5 epochs"),  # five stages of one training
        ("afd.fig_a4", "paper", "1 nets trained, 100 epochs"),
    ],
)
def test_cost_counts_the_nets_that_are_trained(name, budget, said):
    assert experiments.cost(ALL[name], budget).startswith(said)
