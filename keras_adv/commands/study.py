"""A study with people, as in Matyasko's thesis (4.5): python scripts/study.py make|score

make --model=critic_lenet_digits writes study.html, a page that shows clean and adversarial images in random
order and asks for a class and a confidence, and study.key.json, which says what the images are. score
FILE.json ..., of the files that people gave back, prints how many adversarial images changed their label for
people, with intervals and agreement. docs/study.md says more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import flags

import keras_adv
from keras_adv import cli, files, study
from keras_adv.study.writing import key_of
from keras_adv.validate import invalid, one_of, output_file

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command; of the first words without dashes one is --what, the others are
    --answers."""
    words = cli.leading_words()
    flags.DEFINE_string("what", words[0] if words else None, "the first word: make or score")
    flags.DEFINE_multi_string("answers", words[1:], "for score: the files, or the words after the first")
    flags.DEFINE_string("key", "study.key.json", "for score: what make wrote beside the page")
    flags.DEFINE_multi_string("model", [], "for make: zoo names, run folders, or FILE.keras")
    flags.DEFINE_string(
        "attack", "high_confidence()", f"for make: the thesis' own, or another of {cli.names('attack')}"
    )
    flags.DEFINE_string("data", None, "digits, a TFDS name, FILE.npz or a folder; default: the card's")
    flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "which images")
    flags.DEFINE_integer("n", 25, "adversarial images of each model", lower_bound=1)
    flags.DEFINE_integer("clean", None, "images as they are; default: as many as --n", lower_bound=0)
    flags.DEFINE_list("classes", None, "names of the classes; default: their numbers")
    flags.DEFINE_string("question", "Which class do you see?", "what is asked of each image")
    flags.DEFINE_string("title", "What do you see?", "of the page")
    flags.DEFINE_integer("seed", 0, "of the images and of random starts", lower_bound=0)
    flags.DEFINE_string("out", None, "the page, default study.html; for score: its results, as JSON")


def main() -> None:
    """Runs it, with the flags as they are given."""
    one_of("what", FLAGS.what, ("make", "score"))
    cli.check_given_once("answers", "score")
    _make() if FLAGS.what == "make" else _score()


def _make() -> None:
    if not FLAGS.model or len(set(FLAGS.model)) < len(FLAGS.model):
        raise invalid("model", "one or several different ones", FLAGS.model)
    if FLAGS.answers:
        raise invalid("answers", "none, with make", FLAGS.answers)
    out = Path(FLAGS.out or "study.html")
    source = FLAGS.data or cli.data_of(FLAGS.model[0])
    models = {name: keras_adv.zoo.open(name) for name in FLAGS.model}
    x, y = keras_adv.data.load(source).split(FLAGS.split)
    same = ("n", "clean", "classes", "question", "title", "split", "seed")
    options: dict[str, Any] = {name: FLAGS[name].value for name in same}
    key = study.make(out, models, x, y, FLAGS.attack, data=source, **options)
    for one in key["models"]:
        print(
            f"{one['model']}: {one['shown']} shown of {one['looked']}; {one['misclassified']} misclassified, "
            f"{one['not_fooled']} not fooled, {one['lost_in_rounding']} no mistake in 256 levels"
        )
    print(out)
    print(f"{key_of(out)} (keep it: nothing can be scored without it, and nobody who answers may see it)")


def _score() -> None:
    out = None if FLAGS.out is None else output_file(FLAGS.out, "out")
    if out and out.resolve() == Path(FLAGS.key).resolve():
        raise invalid("out", "another file than the key", FLAGS.out)
    key = study.read_key(FLAGS.key)
    results = study.score(key, study.read_answers(FLAGS.answers, key))
    cli.show(study.score_table(results))
    cli.show(study.agreement_table(results))
    cli.show(study.people_table(results))
    if out:
        files.write_text(out, json.dumps(results, indent=1) + "\n")
        print(out)
