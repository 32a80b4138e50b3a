"""Exports a model for serving: python scripts/export.py --model=critic_lenet_digits --out=served/1"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

from absl import flags

import keras_adv
from keras_adv import cli

MODEL = flags.DEFINE_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
OUT = flags.DEFINE_string("out", None, "folder of the SavedModel", required=True)


def main() -> None:
    path = Path(MODEL.value)
    file = path / "model.keras" if path.is_dir() else path
    model = file if file.suffix == ".keras" else keras_adv.zoo.load(MODEL.value)
    print(keras_adv.export(model, OUT.value))


if __name__ == "__main__":
    cli.run(main)
