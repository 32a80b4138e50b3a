"""Writes a TFDS set as a folder of images: python scripts/unpack.py --data=NAME --out=DIR"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_adv import commands

if __name__ == "__main__":
    commands.run("unpack")
