"""Attacks a trained model: python scripts/evaluate.py --model=critic_lenet_digits"""

from keras_adv import commands

if __name__ == "__main__":
    commands.run("evaluate")
