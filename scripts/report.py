"""Writes a page to look at: python scripts/report.py --evaluation=results"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_adv import commands

if __name__ == "__main__":
    commands.run("report")
