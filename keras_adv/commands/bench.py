"""Cost of attacks or of training steps: python scripts/bench.py
attacks|training|normalisation|feed|gradient|jacobians|refill|memory|scaling|optimality

attacks, training: over their floor, the bare forward and backward passes that each needs, timed in the same
process, alternating. normalisation: training steps with batch normalisation in one kernel and in bfloat16,
over Keras' own in float32. feed: an epoch whose batches are made in the graph, over one with Keras'
generator. gradient: the input gradient of attacks over the model's own. jacobians: cheaper forms of the
Jacobian penalties over the full second-order one, and how their gradients agree. refill: an evaluation with
refilled slots over one with fixed batches. memory: GiB above the model. scaling: seconds over bare passes,
and GiB, as images, classes and the net grow. optimality: how near each minimal attack comes to the best of
all, AttackBench's score.
"""

from __future__ import annotations

import inspect
import sys

from absl import flags
from rich.live import Live
from rich.table import Table

from keras_adv import bench, cli, environment

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
        "for refill and optimality: a zoo name, a run folder, or FILE.keras; for attacks, training and "
        "gradient a network, default lenet(); for normalisation wrn(depth=16, width=2)",
    )
    flags.DEFINE_string("data", "digits", "for refill and optimality: the images")
    flags.DEFINE_list("only", None, "names of attacks, or of defenses for training; not for refill")


def main() -> None:
    """Runs it, with the flags as they are given."""
    what, network = FLAGS.what, FLAGS.model or "lenet()"
    titles = {
        "attacks": (f"attacks, {network}: time over the floor of bare passes", "ratio"),
        "training": (f"training, {network}: time over the floor of bare passes", "ratio"),
        "normalisation": ("a training step over Keras' own in float32", "ratio"),
        "feed": ("an epoch's batches from the graph over a generator's, LeNet, digits", "ratio"),
        "gradient": (f"input gradient of attacks over the model's own, {network}", "ratio"),
        "jacobians": ("training steps over the full second-order Jacobian's, LeNet 28x28", "ratio"),
        "refill": ("PGD-40 with refilled slots over fixed batches", "ratio"),
        "optimality": (f"minimal attacks, {FLAGS.model or 'critic_lenet_digits'}: 1 is the best", "score"),
        "scaling": ("an evaluation over its bare passes", "ratio"),
        "memory": ("memory of an evaluation above the model, CIFAR size", "GiB"),
    }
    if what not in titles:
        cli.exit_with_error(f"`what` must be one of {list(titles)}. Received: {what!r}")
    measure = getattr(bench, what)
    given = {"repeats": FLAGS.repeats, "batch": FLAGS.batch_size, "images": FLAGS.data}
    given |= {"model": FLAGS.model, "only": FLAGS.only}
    taken = inspect.signature(measure).parameters
    options = {name: value for name, value in given.items() if name in taken and value is not None}
    title, unit = titles[what]
    table = Table(title=title, caption=environment.processor())
    for column in ("name", "passes", unit, "seconds"):
        table.add_column(column, justify="right" if column in (unit, "seconds") else "left")
    with Live(table, console=cli.console()):  # row by row, where there is a terminal
        for row in measure(**options):
            table.add_row(row["name"], str(row["passes"]), f"{row['ratio']:.2f}", f"{row['seconds']:.3f}")
