"""Writes docs/attacks.md and docs/defenses.md from the registry: python scripts/docs.py"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_adv import commands

if __name__ == "__main__":
    commands.run("docs")
