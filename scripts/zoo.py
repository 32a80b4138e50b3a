"""Lists and checks the zoo: python scripts/zoo.py [--readme=README.md] [--results=docs/results.md]

Checks sha256, safe loading and probe logits of every entry; --readme rewrites the table between the zoo marks, --results
the page with all measurements side by side, those of the cards in the folder "cards" beside it included.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

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
        page = Path(README.value)
        if not page.is_file():
            cli.stop(f"`readme` must be an existing file. Received: {README.value!r}")
        before, rest = page.read_text().split("<!-- zoo -->\n")
        after = rest.split("<!-- /zoo -->")[1]
        page.write_text(f"{before}<!-- zoo -->\n{pages.table()}<!-- /zoo -->{after}")
    if RESULTS.value:
        page = Path(RESULTS.value)
        if not page.parent.is_dir():
            cli.stop(f"`results` must be a file in an existing folder. Received: {RESULTS.value!r}")
        page.write_text(pages.results(page.parent / "cards"))


if __name__ == "__main__":
    cli.run(main)
