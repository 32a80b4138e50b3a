"""Writes docs/attacks.md and docs/defenses.md from the registry: python scripts/docs.py"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("docs")
