"""Searches the tunable fields of a recipe: python scripts/search.py --defense=critic --trials=10"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_adv import commands

if __name__ == "__main__":
    commands.run("search")
