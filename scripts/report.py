"""Writes a page to look at: python scripts/report.py --evaluation=results"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("report")
