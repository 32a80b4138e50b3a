"""Searches the tunable fields of a recipe: python scripts/search.py --defense=critic --trials=10

Each trial is a run of its own; the score is taken on validation images. The same command goes on with a
search. On several machines that share --out: the same command on each, with KERASTUNER_TUNER_ID=chief on one
and another word on each other, and KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT of the chief; in a private
network only, for it is not encrypted.
"""

from __future__ import annotations

from absl import flags
from rich.markup import escape
from rich.table import Table

import keras_adv
from keras_adv import cli
from keras_adv.tuning import OBJECTIVES

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    cli.recipe_flags()
    flags.DEFINE_enum("objective", "robust", OBJECTIVES, "what to maximise")
    flags.DEFINE_integer("trials", 10, "recipes to train", lower_bound=1)
    flags.DEFINE_string("out", "runs/search", "folder for trials, leaderboard.json, best_recipe.txt")
    flags.DEFINE_integer("search_seed", 0, "of the search", lower_bound=0)


def main() -> None:
    """Runs it, with the flags as they are given."""
    recipe = cli.recipe_from_flags()
    board = keras_adv.search(
        recipe, FLAGS.out, objective=FLAGS.objective, trials=FLAGS.trials, seed=FLAGS.search_seed
    )
    if not board:
        print(f"The trials of this worker are done; {FLAGS.out}/leaderboard.json is the chief's.")
        return
    table = Table(title=f"by {FLAGS.objective}, validation images")
    for column in ("trial", "robust", "norm", "clean", "recipe"):
        table.add_column(column, overflow="fold")
    for row in board:
        scores = [f"{row[name]:.4f}" for name in ("robust", "norm", "clean")]
        table.add_row(row["trial"], *scores, escape(row["recipe"]))
    cli.show(table)
    print(f"{FLAGS.out}/best_recipe.txt")
