"""A study with people, as in the thesis' section 4.5: python scripts/study.py make|score"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("study")
