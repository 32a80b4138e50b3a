"""Attacks a trained model: python scripts/evaluate.py --model=critic_lenet_digits --data=digits

Prints a table and writes DIR/results.json. eps is in units of [0, 1].
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
from pathlib import Path

from absl import flags

import keras_adv
from keras_adv import artifact, cli, registry, validate
from keras_adv.evaluation.report import table

MODEL = flags.DEFINE_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
DATA = flags.DEFINE_string("data", "digits", "digits, a TFDS name, or FILE.npz")
SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "which images")
N = flags.DEFINE_integer("n", 1000, "how many images, the first of the split", lower_bound=1)
ATTACK = flags.DEFINE_multi_string(
    "attack", ["pgd(threat=linf(eps=0.1), steps=40)", "deepfool()"], f"one of {cli.names('attack')}"
)
BATCH = flags.DEFINE_integer("batch_size", 256, "images at a time", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "of random starts", lower_bound=0)
OUT = flags.DEFINE_string("out", None, "folder for results.json; none is written without it")


def main() -> None:
    attacks = [registry.parse("attack", spec) for spec in ATTACK.value]
    path = Path(MODEL.value)
    if path.is_dir() or path.suffix == ".keras":
        model = artifact.read(path / "model.keras" if path.is_dir() else path)
    else:
        model = keras_adv.zoo.load(MODEL.value)
    x, y = (part[: N.value] for part in keras_adv.data.load(DATA.value).split(SPLIT.value))
    if OUT.value:
        validate.folder(Path(OUT.value))
    results = keras_adv.evaluate(model, x, y, attacks, batch_size=BATCH.value, seed=SEED.value, verbose=True)
    results = {"model": MODEL.value, "data": DATA.value, **results}
    cli.show(table(results, f"{MODEL.value} on {DATA.value}"))
    if OUT.value:
        file = Path(OUT.value) / "results.json"
        file.write_text(json.dumps(results, indent=1) + "\n")
        print(file)


if __name__ == "__main__":
    cli.run(main)
