"""Exports a model for serving: python scripts/export.py --model=critic_lenet_digits --out=served/1"""

from __future__ import annotations

from absl import flags

import keras_adv

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
    flags.DEFINE_string("out", None, "folder of a SavedModel; or FILE.onnx, .tflite, .xml", required=True)


def main() -> None:
    """Runs it, with the flags as they are given."""
    print(keras_adv.export(keras_adv.zoo.open(FLAGS.model), FLAGS.out))
