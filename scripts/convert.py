"""Reads a net of PyTorch: python scripts/convert.py --file=FILE.pt --architecture=SPEC --out=DIR"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("convert")
