"""Trains, exports and measures a robust classifier: python scripts/train.py --defense=critic

Writes a run folder: model.keras, saved_model/1/, card.json, README.md, history.csv, tensorboard/, pictures.
The same command continues a run that was interrupted.
"""

from __future__ import annotations

from absl import flags

import keras_adv
from keras_adv import backend, cli
from keras_adv.evaluation.tables import table
from keras_adv.training import ATTACKS

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    cli.recipe_flags()
    flags.DEFINE_string("out", None, "run folder; default runs/<defense>_<model>_<data>")
    flags.DEFINE_multi_string("attack", list(ATTACKS), f"what to measure with: {cli.names('attack')}")
    flags.DEFINE_multi_string("adaptive", [], "threat: also the attack made for the defense itself")
    flags.DEFINE_integer("n", 1000, "test images that are attacked, at most", lower_bound=1)
    flags.DEFINE_string("certify", None, "threat: also the certified accuracy, linf(eps=0.3) say")
    flags.DEFINE_enum(
        "distribute", "none", ["none", "mirrored", "data_parallel"], "train on all devices of this machine"
    )
    flags.DEFINE_string("coordinator", None, "JAX on several machines: host:port of the first")
    flags.DEFINE_integer("processes", 1, "with --coordinator: how many train together", lower_bound=1)
    flags.DEFINE_integer("process", 0, "with --coordinator: which of them this is", lower_bound=0)
    flags.DEFINE_bool("extend", False, "--out may hold a run of fewer epochs: go on from there")
    flags.DEFINE_list("keep", [], "epochs after which the model is kept in OUT/epochs: 1,5,10")
    flags.DEFINE_bool("half", False, "round the trained weights to float16: a file of half the bytes")
    flags.DEFINE_bool("publish", False, "copy the finished run into the zoo")


def main() -> None:
    """Runs it, with the flags as they are given."""
    if FLAGS.coordinator:
        backend.join(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    recipe = cli.recipe_from_flags()
    out = FLAGS.out or f"runs/{recipe.title}"
    attacks = [*FLAGS.attack, *(recipe.defense.adaptive_attack(threat) for threat in FLAGS.adaptive)]
    epochs = [cli.number("keep", text) for text in FLAGS.keep]
    options = {
        "n": FLAGS.n,
        "half": FLAGS.half,
        "certify": FLAGS.certify,
        "extend": FLAGS.extend,
        "distribute": FLAGS.distribute,
        "keep": [int(epoch) if epoch.is_integer() else epoch for epoch in epochs],
    }
    card = keras_adv.train(recipe, out, attacks=attacks, **options)
    cli.show(table(card.results, card.name))
    for finding in card.audit:
        print("audit:", finding)
    print(f"{out}/card.json")
    if FLAGS.publish:
        print(keras_adv.zoo.publish(out))
