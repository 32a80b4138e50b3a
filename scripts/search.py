"""Searches the tunable fields of a recipe: python scripts/search.py --defense=critic --trials=10"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("search")
