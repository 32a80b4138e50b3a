"""Attacks a trained model: python scripts/evaluate.py --model=critic_lenet_digits"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_adv import commands

if __name__ == "__main__":
    commands.run("evaluate")
