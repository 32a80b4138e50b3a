"""Cost of attacks or of training steps: python scripts/bench.py"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("bench")
