"""The command lines: help, and one clear line with exit code 2 for whatever cannot be done."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_adv
from keras_adv import registry
from keras_adv.card import ModelCard
from keras_adv.validate import InvalidInput

ROOT = Path(keras_adv.__file__).resolve().parent.parent
ENV = {**os.environ, "KERAS_BACKEND": keras.config.backend(), "TF_CPP_MIN_LOG_LEVEL": "3"}

# One process imports the package; a fork of it runs each command line, so the import is paid once.
FORKS = """
import json, os, runpy, sys, tempfile, traceback
import keras_adv.bench, keras_adv.cli

def run(argv):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv, code = argv, 1
            try:
                runpy.run_path(argv[0], run_name="__main__")
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return code, out.read().decode(), err.read().decode()

print(json.dumps([run(line) for line in json.loads(sys.argv[1])]))
"""

DEFENSES, MODELS = (
    str(list(registry.registered(kind)))[:-1] for kind in ("defense", "model")
)  # presets follow
SCRIPTS = (
    *("bench", "convert", "embed", "evaluate", "export", "report", "reproduce", "search", "study", "train"),
    "unpack",
)
BENCHMARKS = ("fuzz", "kill_sweep", "stream", "tricks")
"""Those of benchmarks/ that need no other library."""
HELP = [(f"{name}.py", "--help") for name in SCRIPTS]
GOOD = (
    "evaluate.py",
    "--model={tmp}/run",
    "--n=20",
    "--attack=fgsm",
    "--attack=pgd(steps=2)",
    "--out={tmp}/new/folder",
)

EMBED = ("embed.py", "--model={tmp}/run", "--n=20", "--attack=fgsm", "--out={tmp}/new/features")

LIST = ("reproduce.py", "list")

CARD = (
    "evaluate.py",
    "--model={tmp}/entry",
    "--card",
    "--attack=fgsm(threat=linf(eps=0.02))",
    "--attack=deepfool()",
)

WILD = (
    "train.py",
    "--recipe=recipe(defense=standard(optimizer=sgd(learning_rate=1e30)), model=mlp(units=(16,)), epochs=2)",
    "--out={tmp}/wild",
)


# (command line, words of its one line of complaint)
BAD = [
    *((f"{name}.py --nope", ("'nope'",)) for name in SCRIPTS),
    *((f"../benchmarks/{name}.py --nope", ("'nope'",)) for name in BENCHMARKS),
    ("unpack.py --data=mnst --out={tmp}/insects", ("`data`", "Did you mean 'mnist'")),
    ("convert.py --file={tmp}/no.pt --architecture=wrn() --out={tmp}/no", ("`file`", "existing", "no.pt")),
    ("convert.py --file={tmp}/file --architecture=wrn() --out={tmp}/foreign", ("`out`", "new or empty")),
    ("convert.py --file=a.pt --architecture=wrn() --out={tmp}/no --mean=1", ("`mean`", "with --std")),
    ("convert.py --file=a.pt --architecture=wrnn --out={tmp}/no", ("`model`", "Did you mean 'wrn'?")),
    ("train.py --defnse=critic", ("'defnse'", "Did you mean: defense")),
    ("train.py critic", ("--flag=value", "['critic']")),
    ("train.py --defense=critik", ("`defense`", DEFENSES, "Did you mean 'critic'?")),
    ("search.py --defense=critik", ("`defense`", "Did you mean 'critic'?")),
    ("train.py --defense=critic(wait=1)", ("'weight'", "'wait'")),
    ("train.py --model=lenett", ("`model`", MODELS, "Did you mean 'lenet'?")),
    ("train.py --data={tmp}/no.npz --out={tmp}/no", ("`data`", "existing file", "no.npz")),
    ("train.py --attack=pdg", ("`attack`", "'pgd'", "Did you mean")),
    ("train.py --attack=pgd(threat=linf(eps=-1))", ("`eps`", "at least 0", "eps=-1")),
    ("train.py --adaptive=linf(eps=-1)", ("`eps`", "at least 0", "eps=-1")),
    ("train.py --adaptive=linf", ("`eps`", "must be given")),
    ("train.py --recipe=recipe(epochs=0)", ("`epochs`", "at least 1")),
    ("train.py --recipe=recipe(", ("`recipe`", "name(option=value)")),
    ("train.py --epochs=0", ("`epochs`", "at least 1")),
    ("train.py --epochs=ten", ("--epochs=ten",)),
    ("train.py --n=0", ("--n=0", "positive")),
    ("train.py --seed=-1", ("`seed`", "at least 0")),
    ("train.py --augment=crop", ("--augment=crop", "none|crop_flip|crop_flip_cutout|resized_crop_flip")),
    ("train.py --out={tmp}/file/x", ("`out`", "writable folder", "/file/x")),
    ("train.py --out={tmp}/foreign", ("`out`", "empty or a run folder", "/foreign")),
    ("train.py --out={tmp}/other", ("`out`", "same recipe", "recipe(epochs=7)")),
    ("search.py --objective=rob", ("--objective=rob", "robust|clean|norm")),
    ("search.py --trials=0", ("--trials=0", "positive")),
    ("search.py --out={tmp}/file/x", ("`out`",)),
    ("evaluate.py", ("--model", "must have a value")),
    ("evaluate.py --model=no_such_entry", ("`name`", "no_such_entry")),
    ("evaluate.py --model={tmp}/foreign", ("`model`", "existing .keras file")),
    ("evaluate.py --model={tmp}/cut.keras", ("`model`", "complete .keras file")),
    ("evaluate.py --model={tmp}/run --attack=pdg", ("`attack`", "Did you mean")),
    ("evaluate.py --model={tmp}/run --split=tset", ("--split=tset", "test|validation|train")),
    ("evaluate.py --model={tmp}/run --data={tmp}/cut.keras", ("`data`",)),
    ("evaluate.py --model={tmp}/run --out={tmp}/file/x", ("`out`", "writable folder")),
    ("evaluate.py --model={tmp}/entry --card --n=3", ("`data, split, n`", "360", "3")),
    ("evaluate.py --model={tmp}/run --card --targets=next", ("`targets`", "--card")),
    ("evaluate.py --model=critic_lenet_digits --card", ("`model`", "run folder")),
    ("evaluate.py --model={tmp}/run --shard=2/8", ("`out`", "--shard or --merge")),
    ("evaluate.py --model={tmp}/run --shard=9/8 --out={tmp}/shards", ("`shard`", "2/8", "9/8")),
    ("evaluate.py --model={tmp}/entry --merge --out={tmp}/shards --n=20", ("`resume`", "without a result")),
    ("evaluate.py --model={tmp}/run --certify=l2(eps=1)", ("`certify`", "linf(eps=...)")),
    ("train.py --distribute=all", ("--distribute=all", "none|mirrored|data_parallel")),
    ("train.py --keep=1,37 --out={tmp}/none", ("`keep`", "at most 36", "37")),
    ("train.py --keep=1.5 --out={tmp}/none", ("`keep`", "whole number", "1.5")),
    ("evaluate.py --model={tmp}/run --eps=0.1,wide", ("`eps`", "a number", "wide")),
    ("evaluate.py --model=a --model=b --model=c", ("`model`", "one, or two to compare")),
    ("evaluate.py --model=a --model=b --card", ("`model`", "one, with --card")),
    ("evaluate.py --model={tmp}/run --model={tmp}/colour.keras", ("`x`", "8, 8, 3)")),
    ("evaluate.py --model={tmp}/run --model={tmp}/few.keras", ("`y`", "0..2")),
    ("evaluate.py --model={tmp}/run --model=no_such_entry", ("`name`", "no_such_entry")),
    ("evaluate.py --model={tmp}/run --model={tmp}/few.keras --transfer_from={tmp}/run", ("`y`", "0..2")),
    ("evaluate.py --model={tmp}/run --transfer_from={tmp}/colour.keras", ("`target`", "8, 8, 3)", "from")),
    ("evaluate.py --model={tmp}/run --report", ("`report`", "--out")),
    ("report.py --evaluation={tmp}/foreign", ("`evaluation`", "results.json")),
    ("report.py --out={tmp}", ("`out`", "a file")),
    ("export.py --model={tmp}/run", ("--out", "must have a value")),
    ("export.py --model=no_such_entry --out={tmp}/served", ("`name`", "no_such_entry")),
    ("export.py --model={tmp}/run --out={tmp}/foreign", ("`out`", "/foreign")),
    ("export.py --model={tmp}/run --out={tmp}/file", ("`out`",)),
    ("export.py --model={tmp}/run --out={tmp}/file/x", ("`out`",)),
    ("evaluate.py --model={tmp}/run --card --sample=0", ("`sample`", "--card")),
    ("evaluate.py --model={tmp}/run --audit=20", ("`audit`", "--card")),
    ("evaluate.py --model={tmp}/run --transfer_from=x --eps=0.1", ("`eps`", "--transfer_from")),
    ("evaluate.py --model={tmp}/run --transfer_from=no_such_entry", ("`name`", "no_such_entry")),
    ("reproduce.py", ("`what`", "'list', 'run'")),
    ("reproduce.py run", ("`experiment`", "`reproduce list`")),
    ("reproduce.py run mat.table9", ("`experiment`", "mat.table3")),
    ("reproduce.py run mat.table3 --experiment=mat.table3", ("`experiment`", "not both")),
    ("reproduce.py run mat.table3 --data=cifar10", ("`data`", "mnist=FILE.npz")),
    ("reproduce.py run mat.table3 --data=cifar=c.npz", ("`data`", "Did you mean 'cifar10'?")),
    ("reproduce.py run mat.table3 --out={tmp}/file/x", ("`out`", "writable folder")),
    ("reproduce.py run mat.table3 --budget=large", ("--budget=large", "smoke|small|paper")),
    ("study.py", ("`what`", "'make', 'score'")),
    ("study.py show", ("`what`", "'make', 'score'", "show")),
    ("study.py make", ("`model`", "one or several")),
    ("study.py make --model=a --model=a", ("`model`", "different")),
    ("study.py make a.json --model=a", ("`answers`", "none, with make")),
    ("study.py make --model={tmp}/run --out={tmp}", ("`out`", "a file")),
    ("study.py make --model={tmp}/run --attack=pdg --out={tmp}/s.html", ("`attack`", "Did you mean")),
    ("study.py score --key={tmp}/none.json", ("`key`", "none.json", "No such file")),
    ("study.py score {tmp}/a.json --key={tmp}/foreign/precious.txt", ("`key`", "precious.txt", "JSON")),
    ("study.py score {tmp}/a.json --answers={tmp}/b.json", ("`answers`", "a.json", "b.json")),
    ("study.py score --n=0", ("--n=0", "positive")),
    ("embed.py --model={tmp}/run --attack=pdg", ("`attack`", "Did you mean")),
    ("embed.py --model={tmp}/run --n=1", ("--n=1", ">= 2")),
    ("embed.py --model={tmp}/run --out={tmp}/file/x", ("`out`", "writable folder")),
    ("bench.py walking", ("'attacks', 'training'", "'walking'")),
    ("bench.py attacks --repeats=0", ("--repeats=0", "positive")),
]  # fmt: skip
LINES = [case.values[0] if hasattr(case, "values") else case[0] for case in BAD]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model to evaluate, a foreign folder, a run of another recipe, a file that is in the way."""
    made = tmp_path_factory.mktemp("scripts")
    for name in ("run", "foreign", "other"):
        (made / name).mkdir()
    for name, shape, classes in (
        ("run/model", (8, 8, 1), 10),
        ("colour", (8, 8, 3), 10),
        ("few", (8, 8, 1), 3),
    ):
        inputs = keras.Input(shape)
        outputs = keras.layers.Dense(classes)(keras.layers.Flatten()(inputs))
        keras.Model(inputs, outputs).save(made / f"{name}.keras")
    shutil.copytree(ROOT / "zoo" / "standard_lenet_digits", made / "entry")
    (made / "cut.keras").write_bytes((made / "run" / "model.keras").read_bytes()[:3000])
    (made / "foreign" / "precious.txt").write_text("mine")
    (made / "other" / "recipe.txt").write_text("recipe(epochs=7)\n")
    (made / "file").write_text("")
    return made


@pytest.fixture(scope="module")
def results(folder):
    """Command line -> (exit code, stdout, stderr)."""
    lines = [*HELP, GOOD, EMBED, LIST, CARD, *(line.split(" ") for line in LINES)]
    argv = [
        [a.replace("{tmp}", str(folder)) for a in (str(ROOT / "scripts" / n), *rest)] for n, *rest in lines
    ]
    command = [sys.executable, "-c", FORKS, json.dumps(argv)]
    done = subprocess.run(command, env=ENV, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return dict(zip([*HELP, GOOD, EMBED, LIST, CARD, *LINES], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_what_the_script_does_and_lists_its_flags(name, results):
    code, out, err = results[(f"{name}.py", "--help")]
    assert code in (0, 1)  # absl's convention is 1
    assert f"python scripts/{name}.py" in out and "Traceback" not in err
    own = {
        "bench": "--repeats",
        "convert": "--architecture",
        "embed": "--attack",
        "evaluate": "--attack",
        "export": "--model",
        "report": "--evaluation",
        "reproduce": "--budget",
        "search": "--trials",
        "study": "--question",
        "train": "--attack",
        "unpack": "--data",
    }
    assert f"{own[name]}: " in out


@pytest.mark.parametrize("name", ["train", "search"])
def test_help_lists_the_flags_of_a_recipe(name, results):
    out = results[(f"{name}.py", "--help")][1]
    for flag in ("recipe", "defense", "model", "data", "epochs", "batch_size", "seed"):
        assert f"--{flag}: " in out


@pytest.mark.parametrize(("line", "words"), BAD)
def test_bad_input_is_one_clear_line_and_exit_code_2(line, words, results):
    code, out, err = results[line]
    assert "Traceback" not in err, err
    complaints = [text for text in err.splitlines() if text.startswith("error: ")]
    assert code == 2 and len(complaints) == 1 and out == ""
    for word in words:
        assert word in complaints[0]


@pytest.mark.slow
def test_a_run_that_diverges_is_one_clear_line_and_exit_code_2(folder):
    """In a process of its own: a script that is not forked does as the others."""
    command = [
        sys.executable,
        *(a.replace("{tmp}", str(folder)) for a in (str(ROOT / "scripts" / WILD[0]), *WILD[1:])),
    ]
    done = subprocess.run(command, env=ENV, cwd=folder, capture_output=True, text=True, timeout=120)
    complaints = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert done.returncode == 2 and len(complaints) == 1 and "Traceback" not in done.stderr
    assert "diverged in epoch 1" in complaints[0] and "learning rate" in complaints[0]
    assert not (folder / "wild" / "model.keras").exists()


def test_refused_commands_leave_every_folder_as_it_was(results, folder):
    assert all(len(result) == 3 for result in results.values())
    assert [p.name for p in (folder / "foreign").iterdir()] == ["precious.txt"]
    assert (folder / "foreign" / "precious.txt").read_text() == "mine"
    assert [p.name for p in (folder / "other").iterdir()] == ["recipe.txt"]
    assert (folder / "other" / "recipe.txt").read_text() == "recipe(epochs=7)\n"
    assert (folder / "file").read_text() == "" and not (folder / "runs").exists()


def test_evaluate_prints_a_table_and_writes_its_results(results, folder):
    code, out, err = results[GOOD]
    assert code == 0, err
    assert "fgsm(threat=linf(eps=0.1))" in out and "clean accuracy" in out
    found = json.loads((folder / "new" / "folder" / "results.json").read_text())
    assert found["n"] == 20 and [row["spec"].split("(")[0] for row in found["attacks"]] == ["fgsm", "pgd"]
    assert out.rstrip().endswith("results.json")


def test_reproduce_lists_every_table_with_its_cost(results):
    code, out, err = results[LIST]
    assert code == 0, err
    for name in ("madnet.table1", "deep_defense.table1_lenet", "thesis5.table8"):
        assert name in out
    assert "nets trained" in out


def test_embed_prints_a_table_and_writes_figures_and_pictures(results, folder):
    code, out, err = results[EMBED]
    assert code == 0, err
    assert "Ward match rate" in out and out.rstrip().endswith("stability.png")
    found = json.loads((folder / "new" / "features" / "embedding.json").read_text())
    assert found["n"] == 20 and found["features"] == 64 and found["data"] == "digits"


def test_evaluate_adds_rows_to_a_card(results, folder):
    code, _, err = results[CARD]
    assert code == 0, err
    old, new = (ModelCard.read(p) for p in (ROOT / "zoo" / "standard_lenet_digits", folder / "entry"))
    specs, wanted = ([row["spec"] for row in c.results["attacks"]] for c in (new, old))
    assert specs == [*wanted, "fgsm(threat=linf(eps=0.02))"]  # DeepFool was there
    assert "fgsm(threat=linf(eps=0.02))" in (folder / "entry" / "README.md").read_text()
    assert new == dataclasses.replace(old, results=new.results)
    with pytest.raises(InvalidInput, match="`clean_accuracy` must be the card's"):
        old.with_attacks({**new.results, "clean_accuracy": 0.5})


@pytest.mark.slow
def test_evaluate_audits_a_net_anew_at_the_threat_of_its_training(tmp_path):
    old = ModelCard.read(ROOT / "zoo" / "adversarial_lenet_digits")
    shutil.copytree(ROOT / "zoo" / old.name, tmp_path / "entry")
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--model=entry", "--card", "--audit=20"]
    done = subprocess.run(command, env=ENV, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "audit at linf(eps=0.1), 20 images:" in done.stdout, done.stderr
    new = ModelCard.read(tmp_path / "entry")
    assert new.audited == {"threat": "linf(eps=0.1)", "n": 20} and "on 20 images" in new.markdown()
    assert new == dataclasses.replace(old, audit=new.audit, audited=new.audited)
