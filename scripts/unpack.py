"""Writes a TFDS set as a folder of images: python scripts/unpack.py --data=imagenette/320px --out=imagenette

For sets that do not fit into memory: scripts/train.py --data="folder(path='imagenette', size=224)" reads
them image by image. The images are copied as they are; a call that was cut short goes on.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

import keras_adv
from keras_adv import cli

DATA = flags.DEFINE_string("data", None, "a TFDS name of images and labels: imagenet2012, ...", required=True)
OUT = flags.DEFINE_string("out", None, "folder of the images", required=True)


def main() -> None:
    keras_adv.data.unpack(DATA.value, OUT.value)


if __name__ == "__main__":
    cli.run(main)
