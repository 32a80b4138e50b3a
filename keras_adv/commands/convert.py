"""Reads a net of PyTorch: python scripts/convert.py --file=net.pt --architecture="wrn(...)" --out=DIR

Writes model.keras, card.json and README.md into DIR; the card claims no measurement until
scripts/evaluate.py --model=DIR --card has measured it. Needs the extra "torch", but for FILE.npz. No code of
the file is run.
"""

from __future__ import annotations

from absl import flags

import keras_adv
from keras_adv import cli
from keras_adv.validate import invalid

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("file", None, "what torch.save wrote, or an npz file of its arrays", required=True)
    flags.DEFINE_string("architecture", None, f"one of {cli.names('model')}, with options", required=True)
    flags.DEFINE_string("out", None, "a new or empty folder", required=True)
    flags.DEFINE_list("shape", ["32", "32", "3"], "H,W,C of the images")
    flags.DEFINE_list("mean", None, "of images in [0, 1], a value a channel; default: the file's, or none")
    flags.DEFINE_list("std", None, "as --mean")
    flags.DEFINE_string("part", None, "which weights of a file that has several: ema")
    flags.DEFINE_string("data", None, "what it was trained on; default: by --shape and the classes")
    flags.DEFINE_string("source", "", "where the file is from, for the card")
    flags.DEFINE_string("licence", "not stated", "of the weights")
    flags.DEFINE_string("claims", "", "what the source says: 'clean 84.92%, AutoAttack 53.08%'")


def main() -> None:
    """Runs it, with the flags as they are given."""
    if (FLAGS.mean is None) != (FLAGS.std is None):
        raise invalid("mean", "given with --std, and --std with it", FLAGS.mean)
    scale = [[cli.number(name, text) for text in FLAGS[name].value or ()] for name in ("mean", "std")]
    card = keras_adv.zoo.convert(
        FLAGS.file,
        FLAGS.architecture,
        FLAGS.out,
        shape=[_whole(text) for text in FLAGS.shape],
        normalize=None if FLAGS.mean is None else (scale[0], scale[1]),
        part=FLAGS.part,
        data=FLAGS.data,
        source=FLAGS.source,
        licence=FLAGS.licence,
        claims=FLAGS.claims,
    )
    print(f"{FLAGS.out}: {card.parameters:,} parameters, {card.data['classes']} classes, not measured")


def _whole(text: str) -> int:
    value = cli.number("shape", text)
    if not float(value).is_integer():
        raise invalid("shape", "whole numbers", text)
    return int(value)
