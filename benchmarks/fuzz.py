"""Feeds damaged cards, specs, models and data to the doors that open foreign files, for as long as asked.

python benchmarks/fuzz.py --minutes=60

Each round is a process of its own that draws cases with hypothesis, from a seed that is printed. What comes
back must be a value or an `InvalidInput` of one line and at most 500 characters, and no round may take more
than 600 MB beside what it had. Exit code 1, and the smallest case that hypothesis finds, where one does not.
"""

import copy
import io
import json
import os
import resource
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import flags
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from keras_adv import InvalidInput, artifact, cli, data, registry, zoo
from keras_adv.card import ModelCard

MINUTES = flags.DEFINE_float("minutes", 60.0, "how long")
FIRST = flags.DEFINE_integer("first", 0, "seed of the first round")
LONGEST, MOST = 500, 600
ENTRY = "standard_lenet_digits"
KINDS = ("attack", "defense", "model", "objective", "optimizer", "recipe", "schedule", "threat")
WORDS = [
    *("pgd", "autoattack", "linf", "l2", "eps", "steps", "loss", "mat_loss", "trades", "recipe", "adam"),
    *("lenet", "None", "True", "nan", "inf", "1e999", "-1", "8/255", "2**63", "'x'", "[]", "{}", "\\\\", "#"),
    *("(", ")", "=", ",", ".", " ", "\n", "\x00", "__class__", "import os", "lambda: 0", "é"),
]

specs = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=40).map("".join),
    st.text(max_size=200),
    st.integers(1, 3000).map(lambda n: "worst(attacks=(" * n),
    st.integers(1, 100_000).map(lambda n: "pgd(steps=" + "9" * n + ")"),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=50), st.just("x" * 100_000)
)
values = st.recursive(
    scalars, lambda v: st.one_of(st.lists(v, max_size=4), st.dictionaries(st.text(max_size=8), v, max_size=4))
)


def damaged(raw):
    """Strategy: `raw` with some bytes changed, cut off, doubled or put in."""

    def apply(steps):
        out = bytearray(raw)
        for kind, at, piece in steps:
            place = int(at * len(out))
            if kind == "change":
                out[place : place + len(piece)] = piece
            elif kind == "cut":
                del out[place : place + 1 + len(piece) ** 2]
            elif kind == "double":
                out[place:place] = out[place : place + 64 * len(piece)]
            else:
                out[place:place] = piece
        return bytes(out)

    kinds = st.sampled_from(["change", "cut", "double", "insert"])
    place = st.floats(0, 1, exclude_max=True)
    return st.lists(st.tuples(kinds, place, st.binary(min_size=1, max_size=12)), min_size=1, max_size=6).map(
        apply
    )


def members(raw):
    """Strategy: the zip file `raw` with one member damaged, left out or another's."""

    def rebuilt(name, content):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for member in old.namelist():
                if member != name:
                    new.writestr(member, old.read(member))
                elif content is not None:
                    new.writestr(member, content)
        return out.getvalue()

    def of_member(name):
        content = zipfile.ZipFile(io.BytesIO(raw)).read(name)
        given = st.one_of(st.none(), st.just(b""), damaged(content))
        if name.endswith(".json"):
            given = st.one_of(given, edited(json.loads(content)).map(lambda v: json.dumps(v).encode()))
        return given.map(lambda new: rebuilt(name, new))

    return st.sampled_from(zipfile.ZipFile(io.BytesIO(raw)).namelist()).flatmap(of_member)


def edited(tree):
    """Strategy: the JSON `tree` with one value replaced, removed or added."""
    paths = list(places(tree))

    def apply(drawn):
        (path, kind), value = drawn
        new = copy.deepcopy(tree)
        at = new
        for step in path[:-1]:
            at = at[step]
        if kind == "remove":
            del at[path[-1]]
        elif kind == "add" and isinstance(at, dict):
            at["another"] = value
        else:
            at[path[-1]] = value
        return new

    kinds = st.sampled_from(["replace", "remove", "add"])
    return st.tuples(st.tuples(st.sampled_from(paths), kinds), values).map(apply)


def places(tree, path=()):
    """Paths to every value of a JSON tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from places(value, (*path, key))


def npz():
    """A small set, as bytes."""
    rng, out = np.random.default_rng(0), io.BytesIO()
    x, y = rng.random((12, 5, 5, 1)).astype("float32"), (np.arange(12) % 3).astype("int32")
    np.savez(out, x_train=x, y_train=y, x_test=x, y_test=y)
    return out.getvalue()


def doors(folder):
    """Name -> (strategy, what opens the case)."""
    entry = zoo.path(ENTRY)
    card, model = json.loads((entry / "card.json").read_text()), (entry / "model.keras").read_bytes()

    def file(name, open_):
        def use(raw):
            (folder / name).write_bytes(raw)
            return open_(folder / name)

        return use

    as_text = edited(card).map(lambda v: json.dumps(v).encode())
    (folder / "card").mkdir(exist_ok=True)
    raw_card = (entry / "card.json").read_bytes()
    return {
        "card": (
            st.one_of(as_text, damaged(raw_card)),
            file("card/card.json", lambda p: ModelCard.read(p.parent)),
        ),
        "spec": (specs, lambda text: [quiet(registry.parse, kind, text) for kind in KINDS]),
        "model": (st.one_of(members(model), damaged(model)), file("model.keras", artifact.read)),
        "data": (st.one_of(members(npz()), damaged(npz())), file("set.npz", lambda p: data.load(str(p)))),
    }


def quiet(fn, *args):
    """`fn`'s refusal as a value, so that the next kind is asked too."""
    try:
        return fn(*args)
    except InvalidInput as error:
        check(error)
        return None


def check(error):
    text = str(error)
    assert "\n" not in text and len(text) <= LONGEST, f"{len(text)} characters: {text[:200]!r}"


def play(name, number, folder, examples):
    """One round: hypothesis raises the smallest case that was neither a value nor a good refusal."""
    strategy, use = doors(folder)[name]

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def law(case):
        try:
            use(case)
        except InvalidInput as error:
            check(error)

    law()


def in_a_process(name, number, examples):
    """(exit code, MB that the round took beside what it started with)."""
    pid = os.fork()
    if not pid:
        code = 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            with tempfile.TemporaryDirectory() as folder:
                play(name, number, Path(folder), examples)
            taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            code = 0 if taken <= MOST else 3
            if code:
                print(f"{name}, seed {number}: {taken:.0f} MB", flush=True)
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


EXAMPLES = {"card": 500, "spec": 500, "model": 60, "data": 200}
"""Cases a round: a model that opens is kept by Keras for the life of a process."""


def main():
    end, number, failed, count = time.time() + 60 * MINUTES.value, FIRST.value, 0, dict.fromkeys(EXAMPLES, 0)
    while time.time() < end:
        for name, examples in EXAMPLES.items():
            code = in_a_process(name, number, examples)
            count[name] += examples
            if code:
                failed += 1
                print(f"{name}, seed {number}: exit code {code}", flush=True)
        number += 1
    print(f"cases: {count}; seeds {FIRST.value} to {number - 1}; rounds that failed: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
