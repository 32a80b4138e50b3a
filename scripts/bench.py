"""Cost of attacks or of training steps over their floor: python scripts/bench.py attacks|training

The floor is the bare forward and backward passes that each needs, timed in the same process, alternating.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags
from rich.table import Table

from keras_adv import bench, cli

WHAT = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "attacks"
REPEATS = flags.DEFINE_integer("repeats", 3, "timings of each, alternating; the median counts", lower_bound=1)
BATCH = flags.DEFINE_integer(
    "batch_size", None, "images; default 256 for attacks, 100 for training", lower_bound=1
)


def main() -> None:
    if WHAT not in ("attacks", "training"):
        cli.stop(f"`what` must be 'attacks' or 'training'. Received: {WHAT!r}")
    sizes = {"batch": BATCH.value} if BATCH.value else {}
    table = Table(title=f"{WHAT}, LeNet 28x28: time over the floor of bare passes")
    for column in ("name", "passes", "ratio", "seconds"):
        table.add_column(column, justify="right" if column in ("ratio", "seconds") else "left")
    for row in getattr(bench, WHAT)(repeats=REPEATS.value, **sizes):
        table.add_row(row["name"], str(row["passes"]), f"{row['ratio']:.2f}", f"{row['seconds']:.3f}")
    cli.show(table)


if __name__ == "__main__":
    cli.run(main)
