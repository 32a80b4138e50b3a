"""Looks at the features of a trained model: python scripts/embed.py --model=critic_lenet_digits

Prints a table of clean and attacked features: how well classes are separated, how far attacks move them; with
--out=DIR also writes DIR/embedding.json, with all matrices, and pictures (t-SNE, principal components,
distances of classes beside confusions, sensitivities and gradients). docs/embedding.md explains each figure.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from absl import flags

import keras_adv
from keras_adv import cli, files
from keras_adv.evaluation import embed, select
from keras_adv.evaluation.tables import embedding_table
from keras_adv.validate import output_folder

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
    flags.DEFINE_string("data", None, "digits, a TFDS name, FILE.npz or a folder; default: the card's")
    flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "which images")
    flags.DEFINE_integer("n", 500, "how many images, the first of the split", lower_bound=2)
    flags.DEFINE_multi_string(
        "attack", ["pgd(threat=linf(eps=0.1), steps=40)"], f"one of {cli.names('attack')}"
    )
    flags.DEFINE_integer("batch_size", 256, "images at a time", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of random starts", lower_bound=0)
    flags.DEFINE_string("out", None, "folder for embedding.json and the pictures; none without it")


def main() -> None:
    """Runs it, with the flags as they are given."""
    out = None if FLAGS.out is None else output_folder(FLAGS.out)
    model = keras_adv.zoo.open(FLAGS.model)
    source = FLAGS.data or cli.data_of(FLAGS.model)
    images, labels = keras_adv.data.load(source).split(FLAGS.split)
    rows = select(images, np.asarray(labels), FLAGS.n)
    x, y = np.asarray(images[rows]), np.asarray(labels)[rows]
    found = embed(model, x, y, FLAGS.attack, batch_size=FLAGS.batch_size, seed=FLAGS.seed)
    summary: dict[str, Any] = {"model": FLAGS.model, "data": source, "split": FLAGS.split, **found.summary()}
    cli.show(embedding_table(summary, f"{FLAGS.model} on {source}"))
    if out is not None:
        files.write_text(out / "embedding.json", json.dumps(summary, indent=1) + "\n")
        for path in (out / "embedding.json", *found.pictures(out)):
            print(path)
