"""`python -m keras_adv NAME --flag=value`, as `keras-adv`."""

from keras_adv import commands

if __name__ == "__main__":
    commands.main()
