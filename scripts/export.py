"""Exports a model for serving: python scripts/export.py --model=critic_lenet_digits --out=served/1"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("export")
