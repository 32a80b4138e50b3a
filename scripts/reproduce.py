"""Tables and figures of the papers: python scripts/reproduce.py list|run"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("reproduce")
