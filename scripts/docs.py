"""Writes docs/attacks.md and docs/defenses.md from the registry: python scripts/docs.py

One row for each registered attack, objective, defense and preset; the tests see that the pages are as the
code is.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

from keras_adv import cli
from keras_adv.pages import methods

OUT = flags.DEFINE_string("out", "docs", "folder of the pages")


def main() -> None:
    for page in methods.write(OUT.value):
        print(page)


if __name__ == "__main__":
    cli.run(main)
