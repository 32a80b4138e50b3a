"""Lists and checks the zoo: python scripts/zoo.py [--readme=README.md] [--results=docs/results.md]

Checks sha256, safe loading and probe logits of every entry; --readme rewrites the table between the zoo
marks, --results the page with all measurements side by side, those of the cards in the folder "cards" beside
it included.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

import keras_adv
from keras_adv import cli
from keras_adv.pages import zoo as pages

README = flags.DEFINE_string("readme", None, "page whose zoo table is rewritten")
RESULTS = flags.DEFINE_string("results", None, "page that is written anew with every measurement")


def main() -> None:
    for name in keras_adv.zoo.list():
        card = keras_adv.zoo.verify(name)
        print(f"{name}: verified, clean accuracy {card.results['clean_accuracy']:.2%}")
    if README.value:
        pages.write_table(README.value)
    if RESULTS.value:
        pages.write_results(RESULTS.value)


if __name__ == "__main__":
    cli.run(main)
