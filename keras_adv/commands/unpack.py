"""Writes a TFDS set as a folder of images: python scripts/unpack.py --data=imagenette/320px --out=imagenette

For sets that do not fit into memory: scripts/train.py --data="folder(path='imagenette', size=224)" reads
them image by image. The images are copied as they are; a call that was cut short goes on.
"""

from __future__ import annotations

from absl import flags

import keras_adv

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("data", None, "a TFDS name of images and labels: imagenet2012, ...", required=True)
    flags.DEFINE_string("out", None, "folder of the images", required=True)


def main() -> None:
    """Runs it, with the flags as they are given."""
    keras_adv.data.unpack(FLAGS.data, FLAGS.out)
