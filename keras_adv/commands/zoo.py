"""Lists and checks the zoo: python scripts/zoo.py [--pages] [--readme=README.md] [--results=docs/results.md]

Checks sha256, safe loading and probe logits of every entry; --pages writes their README.md anew, --readme
rewrites the table between the zoo marks, --results the page with all measurements side by side, those of the
cards in the folder "cards" beside it included.
"""

from __future__ import annotations

from absl import flags

import keras_adv
from keras_adv.pages import zoo as pages

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_bool("pages", False, "write README.md of every entry anew, from its card")
    flags.DEFINE_string("readme", None, "page whose zoo table is rewritten")
    flags.DEFINE_string("results", None, "page that is written anew with every measurement")


def main() -> None:
    """Runs it, with the flags as they are given."""
    for name in keras_adv.zoo.list():
        card = keras_adv.zoo.verify(name)
        clean = f"clean accuracy {card.results['clean_accuracy']:.2%}" if card.results else "not measured"
        print(f"{name}: verified, {clean}")
    if FLAGS.pages:
        pages.write_pages()
    if FLAGS.readme:
        pages.write_table(FLAGS.readme)
    if FLAGS.results:
        pages.write_results(FLAGS.results)
