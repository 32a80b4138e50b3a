"""Writes a TFDS set as a folder of images: python scripts/unpack.py --data=NAME --out=DIR"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("unpack")
