"""Trains, exports and measures a robust classifier: python scripts/train.py --defense=critic

Writes a run folder: model.keras, saved_model/1/, card.json, README.md, history.csv, tensorboard/, pictures.
The same command continues a run that was interrupted.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import flags

import keras_adv
from keras_adv import backend, cli
from keras_adv.evaluation.report import table
from keras_adv.training import ATTACKS

cli.recipe_flags()
flags.adopt_module_key_flags(cli)  # so that --help shows them
OUT = flags.DEFINE_string("out", None, "run folder; default runs/<defense>_<model>_<data>")
ATTACK = flags.DEFINE_multi_string("attack", list(ATTACKS), f"what to measure with: {cli.names('attack')}")
ADAPTIVE = flags.DEFINE_multi_string("adaptive", [], "threat: also the attack made for the defense itself")
N = flags.DEFINE_integer("n", 1000, "test images that are attacked, at most", lower_bound=1)
CERTIFY = flags.DEFINE_string("certify", None, "threat: also the certified accuracy, linf(eps=0.3) say")
DISTRIBUTE = flags.DEFINE_enum(
    "distribute", "none", ["none", "mirrored", "data_parallel"], "train on all devices of this machine"
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "JAX on several machines: host:port of the first")
PROCESSES = flags.DEFINE_integer("processes", 1, "with --coordinator: how many train together", lower_bound=1)
PROCESS = flags.DEFINE_integer("process", 0, "with --coordinator: which of them this is", lower_bound=0)
EXTEND = flags.DEFINE_bool("extend", False, "--out may hold a run of fewer epochs: go on from there")
HALF = flags.DEFINE_bool("half", False, "round the trained weights to float16: a file of half the bytes")
PUBLISH = flags.DEFINE_bool("publish", False, "copy the finished run into the zoo")


def main() -> None:
    if COORDINATOR.value:
        backend.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    recipe = cli.recipe_from_flags()
    out = OUT.value or f"runs/{recipe.title}"
    attacks = [*ATTACK.value, *(recipe.defense.adaptive_attack(threat) for threat in ADAPTIVE.value)]
    options = {
        "n": N.value,
        "half": HALF.value,
        "certify": CERTIFY.value,
        "extend": EXTEND.value,
        "distribute": DISTRIBUTE.value,
    }
    card = keras_adv.train(recipe, out, attacks=attacks, **options)
    cli.show(table(card.results, card.name))
    for finding in card.audit:
        print("audit:", finding)
    print(f"{out}/card.json")
    if PUBLISH.value:
        print(keras_adv.zoo.publish(out))


if __name__ == "__main__":
    cli.run(main)
