"""Lists and checks the zoo: python scripts/zoo.py [--readme=README.md] [--results=docs/results.md]"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_adv import commands

if __name__ == "__main__":
    commands.run("zoo")
