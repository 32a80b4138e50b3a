"""Looks at the features of a trained model: python scripts/embed.py --model=critic_lenet_digits"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("embed")
