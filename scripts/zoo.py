"""Lists and checks the zoo: python scripts/zoo.py [--readme=README.md] [--results=docs/results.md]"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("zoo")
