"""Trains, exports and measures a robust classifier: python scripts/train.py --defense=critic"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("train")
