"""Attacks a trained model: python scripts/evaluate.py --model=critic_lenet_digits

Prints a table; with --out=DIR also writes DIR/results.json, and goes on where a killed run stopped.
eps is in units of [0, 1].
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
from pathlib import Path

import numpy as np
from absl import flags

import keras_adv
from keras_adv import cli, files, registry, validate
from keras_adv.evaluation import goals, journal
from keras_adv.evaluation.report import table

MODEL = flags.DEFINE_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
DATA = flags.DEFINE_string("data", None, "digits, a TFDS name, FILE.npz or a folder; default: the card's")
SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "which images")
N = flags.DEFINE_integer("n", 1000, "how many images, the first of the split", lower_bound=1)
ATTACK = flags.DEFINE_multi_string(
    "attack", ["pgd(threat=linf(eps=0.1), steps=40)", "deepfool()"], f"one of {cli.names('attack')}"
)
ADAPTIVE = flags.DEFINE_multi_string("adaptive", [], "threat: also the attack on the model's own defense")
CERTIFY = flags.DEFINE_string("certify", None, "threat: also the certified accuracy, linf(eps=0.3) say")
TARGETS = flags.DEFINE_enum("targets", None, list(goals.WORDS), "class to reach; none: any mistake will do")
BATCH = flags.DEFINE_integer("batch_size", 256, "images at a time", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "of random starts", lower_bound=0)
SHARD = flags.DEFINE_string("shard", None, "2/8: attack the second of eight parts alone; --out keeps it")
MERGE = flags.DEFINE_bool("merge", False, "put together what --out has of all shards")
OUT = flags.DEFINE_string("out", None, "folder for results.json; none is written without it")
CARD = flags.DEFINE_bool("card", False, "add what is measured to the card of --model, a run folder")


def main() -> None:
    if CARD.value and not Path(MODEL.value).is_dir():
        raise validate.invalid("model", "a run folder, with --card", MODEL.value)
    if CARD.value and TARGETS.value:
        raise validate.invalid("targets", "none, with --card", TARGETS.value)
    if SHARD.value and (MERGE.value or CARD.value):
        raise validate.invalid("shard", "none, with --merge or --card", SHARD.value)
    attacks = [registry.parse("attack", spec) for spec in ATTACK.value]
    attacks += cli.adaptive_attacks(MODEL.value, ADAPTIVE.value)
    model = keras_adv.zoo.open(MODEL.value)
    data = keras_adv.data.load(source := DATA.value or cli.data_of(MODEL.value))
    x, y = (np.asarray(part[: N.value]) for part in data.split(SPLIT.value))
    if CARD.value:
        cli.card_of(MODEL.value).check_images(data.name, SPLIT.value, len(x))
    file, partial = cli.results_in(OUT.value, bool(SHARD.value or MERGE.value))
    options = {"targets": TARGETS.value, "batch_size": BATCH.value, "seed": SEED.value, "resume": partial}
    options |= {"certify": CERTIFY.value, "shard": SHARD.value, "merge": MERGE.value}
    results = keras_adv.evaluate(model, x, y, attacks, verbose=True, **options)
    results = {"model": MODEL.value, "data": source, "targets": TARGETS.value, **results}
    cli.show(table(results, f"{MODEL.value} on {source}"))
    if CARD.value:
        cli.card_of(MODEL.value).with_attacks(results).save(Path(MODEL.value))
    if file and partial and not SHARD.value:
        files.write_text(file, json.dumps(results, indent=1) + "\n")
        print(file)
    if partial and not (SHARD.value or MERGE.value):  # other attacks may have shards there
        journal.clear(partial)


if __name__ == "__main__":
    cli.run(main)
