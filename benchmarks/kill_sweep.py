"""Kills a training, an evaluation, a search and an export over and over, and looks whether each goes on.

python benchmarks/kill_sweep.py --random=25

Each work is done once whole, then once for every file event that Python sees below its folder, in a process
that is killed as that event comes, and `--random` times in a process that is killed at a random moment (file
events of TensorFlow and HDF5 are reached by these alone). Then the same call is made again: it must end with
what the whole work left, to the last bit. Exit code 1 if one did not.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import flags

import keras_adv
from keras_adv import artifact, cli, data, zoo

WORKS = flags.DEFINE_list("works", ["train", "evaluate", "search", "export"], "which of them")
RANDOM = flags.DEFINE_integer("random", 25, "kills of each at random moments")
EVERY = flags.DEFINE_integer("every", 1, "kill at each so-manieth file event")
RECIPE = "recipe(defense=standard(), model=mlp(units=(8,)), epochs=3)"
TUNED = "recipe(defense=adversarial(attack=fgsm()), model=mlp(units=(8,)), epochs=1)"
NET = "standard_lenet_digits"
ATTACKS = ["pgd(threat=linf(eps=0.1), steps=5, restarts=2)", "ddn(steps=20)"]
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")


def train(out):
    keras_adv.train(RECIPE, out, attacks=["fgsm()"], n=8, verbose=0)


def evaluate(out):
    x, y = (part[:100] for part in data.load("digits").test)
    found = keras_adv.evaluate(zoo.load(NET), x, y, ATTACKS, batch_size=32, resume=out / "partial")
    (out / "results.json").write_text(json.dumps(timeless(found)))


def search(out):
    keras_adv.search(TUNED, out, trials=2)


def export(out):
    """Over an older one, of another net."""
    if not (out / "served").exists():
        keras_adv.export(zoo.load("standard_mlp_mnist"), out / "served")
    keras_adv.export(zoo.load(NET), out / "served")


def timeless(value):
    """JSON without what no two runs share."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "sha256", "bytes")}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def left(out):
    """What a work left, as one text: weights, figures and histories; and that nothing half is among it."""
    found = {}
    for path in sorted(p for p in Path(out).rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        if path.name == "model.keras":
            # not the file: names of layers count what the process made before
            weights = artifact.read(path).get_weights()
            found[name] = hashlib.sha256(b"".join(w.tobytes() for w in weights)).hexdigest()
        elif path.name in ("card.json", "leaderboard.json", "results.json"):
            found[name] = timeless(json.loads(path.read_text()))
        elif path.name == "history.csv":
            found[name] = [
                line.split(",")[:1] + line.split(",")[2:] for line in path.read_text().splitlines()
            ]
        elif path.name == "saved_model.pb":
            found[name] = answers(path.parent)
        elif "part" in path.name and "partial" not in path.parts:
            found[name] = "left over"
    return json.dumps(found, sort_keys=True)


def answers(folder):
    import tensorflow as tf

    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    shape = (8, *serve.structured_input_signature[1]["images"].shape[1:])
    x = np.random.default_rng(0).random(shape, "float32")
    return hashlib.sha256(serve(images=tf.constant(x))["logits"].numpy().tobytes()).hexdigest()


def in_a_process(fn, moment=None):
    """(exit code or minus the signal, what `fn` wrote into the pipe that it is given, seconds), of a process
    of its own: TensorFlow must not have run in one that is forked."""
    read, write = os.pipe()
    started, pid = time.perf_counter(), os.fork()
    if not pid:
        os.close(read)
        code = 1
        try:
            fn(write)
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(code)
    os.close(write)
    if moment is not None:
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(read, "rb") as pipe:
        written = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, written, time.perf_counter() - started


def watched(work, out, event=None):
    """For `in_a_process`: does the work, killed just before file event number `event`."""

    def run(pipe):
        watch(out, event, pipe)
        work(out)

    return run


def look(out):
    """`left(out)`, looked at in a process of its own."""
    return in_a_process(lambda pipe: os.write(pipe, hashlib.sha256(left(out).encode()).digest()))[1]


def watch(out, event, pipe):
    """Counts the file events below `out` into `pipe`; SIGKILL just before number `event`."""
    seen = 0

    def hook(name, args):
        nonlocal seen
        if name not in EVENTS or not str(args[0]).startswith(str(out)):
            return
        if name == "open" and not set(str(args[1])) & set("wax+"):
            return
        if seen == event:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1
        os.write(pipe, b".")

    sys.addaudithook(hook)


def sweep(name, work, folder):
    """The moments at which a kill was not survived."""
    whole = folder / "whole"
    whole.mkdir()
    code, seen, seconds = in_a_process(watched(work, whole))
    assert code == 0, f"{name} fails without a kill"
    want, draw = look(whole), random.Random(name)
    kills = [{"event": n} for n in range(0, len(seen), EVERY.value)]
    kills += [{"moment": draw.uniform(0.0, seconds)} for _ in range(RANDOM.value)]
    failed = []
    for number, kill in enumerate(kills):
        out = folder / str(number)
        out.mkdir()
        code, _, _ = in_a_process(watched(work, out, kill.get("event")), kill.get("moment"))
        again, _, _ = in_a_process(watched(work, out))
        if again or look(out) != want:
            failed.append((kill, code, again))
            print(f"{name}: not survived: {kill}, exit codes {code} and {again}, {out}", flush=True)
    print(f"{name}: {len(kills)} kills ({len(seen)} file events), {len(failed)} not survived", flush=True)
    return failed


def main():
    works = {"train": train, "evaluate": evaluate, "search": search, "export": export}
    with TemporaryDirectory() as folder:
        failed = []
        for name in WORKS.value:
            (Path(folder) / name).mkdir()
            failed += sweep(name, works[name], Path(folder) / name)
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
