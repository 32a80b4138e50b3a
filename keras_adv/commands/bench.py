"""Cost of attacks or of training steps: python scripts/bench.py
attacks|training|feed|gradient|jacobians|refill|memory

attacks, training: over their floor, the bare forward and backward passes that each needs, timed in the same
process, alternating. feed: an epoch whose batches are made in the graph, over one with Keras' generator.
gradient: the input gradient of attacks over the model's own. jacobians: cheaper forms of the Jacobian
penalties over the full second-order one, and how their gradients agree. refill: an evaluation with refilled
slots over one with fixed batches. memory: GiB above the model.
"""

from __future__ import annotations

import sys

from absl import flags
from rich.table import Table

from keras_adv import bench, cli

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command; a first word without dashes is --what."""
    what = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "attacks"
    flags.DEFINE_string("what", what, "the first word: attacks, training, feed, gradient, ...")
    flags.DEFINE_integer("repeats", 3, "timings of each, alternating; the median counts", lower_bound=1)
    flags.DEFINE_integer(
        "batch_size", None, "images; default 256 for attacks, 100 for training", lower_bound=1
    )
    flags.DEFINE_string(
        "model",
        None,
        "for refill: a zoo name, a run folder, or FILE.keras; else (attacks, training, gradient) a network, "
        "default lenet()",
    )
    flags.DEFINE_string("data", "digits", "for refill: its images")
    flags.DEFINE_list("only", None, "names of attacks, or of defenses for training; not for refill")


def main() -> None:
    """Runs it, with the flags as they are given."""
    what, network = FLAGS.what, FLAGS.model or "lenet()"
    titles = {
        "attacks": (f"attacks, {network}: time over the floor of bare passes", "ratio"),
        "training": (f"training, {network}: time over the floor of bare passes", "ratio"),
        "feed": ("an epoch's batches from the graph over a generator's, LeNet, digits", "ratio"),
        "gradient": (f"input gradient of attacks over the model's own, {network}", "ratio"),
        "jacobians": ("training steps over the full second-order Jacobian's, LeNet 28x28", "ratio"),
        "refill": ("PGD-40 with refilled slots over fixed batches", "ratio"),
        "memory": ("memory of an evaluation above the model, CIFAR size", "GiB"),
    }
    if what not in titles:
        cli.exit_with_error(f"`what` must be one of {list(titles)}. Received: {what!r}")
    options = {} if what == "memory" else {"repeats": FLAGS.repeats}
    options |= {"batch": FLAGS.batch_size} if FLAGS.batch_size and what != "memory" else {}
    options |= {"images": FLAGS.data} if what == "refill" else {}
    options |= (
        {"model": FLAGS.model}
        if FLAGS.model and what in ("attacks", "gradient", "refill", "training")
        else {}
    )
    options |= (
        {"only": FLAGS.only} if FLAGS.only and what in ("attacks", "feed", "memory", "training") else {}
    )
    title, unit = titles[what]
    table = Table(title=title)
    for column in ("name", "passes", unit, "seconds"):
        table.add_column(column, justify="right" if column in (unit, "seconds") else "left")
    for row in getattr(bench, what)(**options):
        table.add_row(row["name"], str(row["passes"]), f"{row['ratio']:.2f}", f"{row['seconds']:.3f}")
    cli.show(table)
