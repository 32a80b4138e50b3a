"""Writes docs/attacks.md and docs/defenses.md from the registry: python scripts/docs.py

One row for each registered attack, objective, defense and preset; the tests see that the pages are as the
code is.
"""

from __future__ import annotations

from absl import flags

from keras_adv.pages import methods

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("out", "docs", "folder of the pages")


def main() -> None:
    """Runs it, with the flags as they are given."""
    for page in methods.write(FLAGS.out):
        print(page)
