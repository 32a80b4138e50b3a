"""Exports a model for serving: python scripts/export.py --model=critic_lenet_digits --out=served/1"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

import keras_adv
from keras_adv import cli

MODEL = flags.DEFINE_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
OUT = flags.DEFINE_string("out", None, "folder of the SavedModel", required=True)


def main() -> None:
    print(keras_adv.export(keras_adv.zoo.open(MODEL.value), OUT.value))


if __name__ == "__main__":
    cli.run(main)
