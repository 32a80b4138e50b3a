"""Attacks a trained model: python scripts/evaluate.py --model=critic_lenet_digits

Prints a table; with --out=DIR also writes DIR/results.json and records.npz (what each attack did to each
image), and goes on where a killed run stopped. Two models, --model=A --model=B, are attacked on the same
images and compared; what belongs to B is in DIR/2. eps is in units of [0, 1].
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

import keras_adv
from keras_adv import cli, files, registry
from keras_adv.attacks import Attack
from keras_adv.evaluation import goals, journal, records, surface
from keras_adv.evaluation.auditing import audited_threat
from keras_adv.evaluation.black_box import check_pair, transfers
from keras_adv.evaluation.plan import Plan, make_plan
from keras_adv.evaluation.protocols import DEFINITIONS, SHARES, reference_eps, rho
from keras_adv.evaluation.report import carry_out
from keras_adv.evaluation.selection import select
from keras_adv.evaluation.tables import comparison_table, curve_table, table
from keras_adv.pages import reports
from keras_adv.training import AUDIT_OF
from keras_adv.validate import invalid

FLAGS = flags.FLAGS


DEFAULTS = ("pgd(threat=linf(eps=0.1), steps=40)", "deepfool()")


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_multi_string("model", None, "a zoo name, a run folder, or FILE.keras", required=True)
    flags.DEFINE_string("data", None, "digits, a TFDS name, FILE.npz or a folder; default: the card's")
    flags.DEFINE_enum("split", "test", ["test", "validation", "train"], "which images")
    flags.DEFINE_integer("n", 1000, "how many images, the first of the split", lower_bound=1)
    flags.DEFINE_integer("sample", None, "a seed: draw the images from the split at random", lower_bound=0)
    flags.DEFINE_bool("correct", False, "only images that every --model classifies correctly")
    flags.DEFINE_multi_string(
        "attack", list(DEFAULTS), f"one of {cli.names('attack')}; default with --eps: the first of these"
    )
    flags.DEFINE_multi_string("adaptive", [], "threat: also the attack on the model's own defense")
    flags.DEFINE_list("eps", None, "several radii, 0.01,0.02,0.05: the curve of the robust accuracy")
    flags.DEFINE_string("certify", None, "threat: also the certified accuracy, linf(eps=0.3) say")
    flags.DEFINE_multi_enum("rho", [], list(DEFINITIONS), "also DeepFool's rho as this paper defines it")
    shares = "also FGSM without the box at 0.2, 0.5, 1 of this eps, or of that which halves a model"
    flags.DEFINE_string("eps_ref", None, shares)
    flags.DEFINE_enum("targets", None, list(goals.WORDS), "class to reach; none: any mistake will do")
    flags.DEFINE_integer("batch_size", 256, "images at a time", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of random starts", lower_bound=0)
    flags.DEFINE_string("shard", None, "2/8: attack the second of eight parts alone; --out keeps it")
    flags.DEFINE_bool("merge", False, "put together what --out has of all shards")
    flags.DEFINE_string("out", None, "folder for results.json; none is written without it")
    seen = "model that the attacks see; --model is judged. Made anew in each run"
    flags.DEFINE_string("transfer_from", None, seen)
    flags.DEFINE_bool("report", False, "also audit the model, and write report.html into --out")
    flags.DEFINE_bool("card", False, "add what is measured to the card of --model, a run folder")
    flags.DEFINE_integer(
        "audit",
        None,
        "with --card: audit the model anew, on so many of the images, at the threat of its training; then no "
        "attack is the default",
        lower_bound=1,
    )


def main() -> None:
    """Runs it, with the flags as they are given."""
    _check()
    data = keras_adv.data.load(source := FLAGS.data or cli.data_of(FLAGS.model[0]))
    x, y = _images(data.split(FLAGS.split))
    if FLAGS.card:
        cli.card_of(FLAGS.model[0]).check_images(data.name, FLAGS.split, len(x))
    default = DEFAULTS[:1] if FLAGS.eps else () if FLAGS.audit else DEFAULTS
    specs = FLAGS.attack if FLAGS["attack"].present else default
    attacks = [registry.parse("attack", spec) for spec in [*specs, *_at_shares(x, y)]]
    with tempfile.TemporaryDirectory() as spare:
        # what is wrong with the second model is said before the first one is attacked
        runs = [_prepared(n, name, attacks, x, y, spare) for n, name in enumerate(FLAGS.model, 1)]
        for run in runs:
            _finish(run, _measured(run, source))
        if len(runs) > 1:
            found = records.compare(*(records.load(run.records) for run in runs))
            cli.show(comparison_table(found, *FLAGS.model))
            if FLAGS.out:
                files.write_text(Path(FLAGS.out) / "comparison.json", json.dumps(found, indent=1) + "\n")


class _Run(NamedTuple):
    """The evaluation of one model, which can start."""

    name: str
    plan: Plan
    file: Path | None  # results.json, in --out
    records: Path
    seen: Any  # the model of --transfer_from, or None


def _prepared(number: int, name: str, attacks: list[Attack], x: Any, y: Any, spare: str) -> _Run:
    """All that can be wrong with a model, its images and its folder is said here."""
    model = keras_adv.zoo.open(name)
    out = FLAGS.out if not FLAGS.out or number == 1 else f"{FLAGS.out}/{number}"
    file, partial = cli.results_in(out, bool(FLAGS.shard or FLAGS.merge))
    kept = Path(out) / "records.npz" if out else Path(spare) / f"{number}.npz"
    wanted = (out or len(FLAGS.model) > 1) and not FLAGS.shard
    attacks = [*attacks, *cli.adaptive_attacks(name, FLAGS.adaptive)]
    same = ("targets", "batch_size", "seed", "certify", "shard", "merge")
    more: dict[str, Any] = {flag: FLAGS[flag].value for flag in same}
    more["eps"] = None if FLAGS.eps is None else [cli.number("eps", text) for text in FLAGS.eps]
    plan = make_plan(model, x, y, attacks, resume=partial, records=kept if wanted else None, **more)
    seen = None
    if FLAGS.transfer_from:
        with _of("transfer_from"):
            seen = keras_adv.zoo.open(FLAGS.transfer_from)
            check_pair(seen, model)
            make_plan(seen, x, y, attacks)
    return _Run(name, plan, file, kept, seen)


def _images(split: Any) -> tuple[np.ndarray, np.ndarray]:
    """Those of the split that --n, --sample and --correct say."""
    x, y = split[0], np.asarray(split[1])  # images on disk stay there until they are chosen
    judges = [keras_adv.zoo.open(name) for name in FLAGS.model] if FLAGS.correct else []
    rows = select(x, y, FLAGS.n, sample=FLAGS.sample, correct=judges, batch_size=FLAGS.batch_size)
    return np.asarray(x[rows]), y[rows]


def _chosen() -> str:
    """Which images these are, in words."""
    drawn = f"drawn from the {FLAGS.split} split by seed {FLAGS.sample}"
    which = f"the first of the {FLAGS.split} split" if FLAGS.sample is None else drawn
    return f"{which}, only correctly classified ones" if FLAGS.correct else which


@contextlib.contextmanager
def _of(flag: str) -> Iterator[None]:
    """Says of an error by which flag it came."""
    try:
        yield
    except keras_adv.InvalidInput as error:
        raise keras_adv.InvalidInput(f"{error} (of --{flag})") from error


def _at_shares(x: np.ndarray, y: np.ndarray) -> list[str]:
    """FGSM at the shares of the radius that --eps_ref says."""
    if not FLAGS.eps_ref:
        return []
    if re.fullmatch(r"[\d./e-]+", FLAGS.eps_ref):
        whole = cli.number("eps_ref", FLAGS.eps_ref)
    else:
        with _of("eps_ref"):
            model = keras_adv.zoo.open(FLAGS.eps_ref)
            whole = reference_eps(model, x, y, batch_size=FLAGS.batch_size)
        print(f"eps_ref, at which FGSM halves {FLAGS.eps_ref}: {whole:.4f}")
    return [f"fgsm(threat=linf(eps={share * whole:.5f}, box=False))" for share in SHARES]


NOT_WITH = {
    "card": ("targets", "sample", "correct", "eps_ref", "shard"),
    "transfer_from": ("card", "adaptive", "eps", "certify", "targets", "shard", "merge", "report"),
    "eps": ("eps_ref",),
    "merge": ("shard",),
}
"""Flag -> those that do not go with it."""


def _check() -> None:
    """Raises InvalidInput where flags do not go together."""

    def given(flag: str) -> bool:
        value = FLAGS[flag].value
        return value is not None and value is not False and value != []

    if len(FLAGS.model) > 2:
        raise invalid("model", "one, or two to compare", FLAGS.model)
    if len(FLAGS.model) > 1 and any(map(given, ("card", "shard", "merge", "adaptive"))):
        raise invalid("model", "one, with --card, --shard, --merge or --adaptive", FLAGS.model)
    if FLAGS.card and not Path(FLAGS.model[0]).is_dir():
        raise invalid("model", "a run folder, with --card", FLAGS.model[0])
    if FLAGS.audit and not FLAGS.card:
        raise invalid("audit", "given with --card", FLAGS.audit)
    if FLAGS.card and any(not registry.parse("attack", spec).threat.box for spec in FLAGS.attack):
        raise invalid("attack", "in the box, with --card", FLAGS.attack)
    for flag, others in NOT_WITH.items():
        for other in others:
            if given(flag) and given(other):
                raise invalid(other, f"none, with --{flag}", FLAGS[other].value)
    if FLAGS.report and (FLAGS.shard or not FLAGS.out):
        raise invalid("report", "given with --out, and without --shard", FLAGS.report)


def _measured(run: _Run, source: str) -> dict[str, Any]:
    """The results of one model, printed as tables."""
    plan, x, y = run.plan, run.plan.images.x, run.plan.images.y
    results = {"model": run.name, "data": source, "images": _chosen(), "targets": FLAGS.targets}
    if run.seen is None:
        results |= carry_out(plan, verbose=True)
    else:
        how: dict[str, Any] = {"batch_size": plan.batch_size, "seed": plan.seed, "records": plan.file}
        results["transfer_from"] = FLAGS.transfer_from
        results |= transfers(run.seen, plan.model, x, y, plan.attacks, **how)
    if FLAGS.rho:
        results["rho"] = {one: rho(plan.model, x, y, one, batch_size=plan.batch_size) for one in FLAGS.rho}
    results["command"] = _command(run.name)
    by = f", attacked through {FLAGS.transfer_from}" if FLAGS.transfer_from else ""
    cli.show(table(results, f"{run.name} on {source}{by}"))
    for paper, value in results.get("rho", {}).items():
        print(f"rho as in {paper}: {value:.4f}")
    if (curves := curve_table(results)) is not None:
        cli.show(curves)
    return results


def _finish(run: _Run, results: dict[str, Any]) -> None:
    """Writes what --out, --report and --card ask for."""
    asked = run.plan.model, run.plan.images.x, run.plan.images.y
    if FLAGS.card:
        _add_to_card(run.name, *asked, results)
    if run.file and not FLAGS.shard:
        files.write_text(run.file, json.dumps(results, indent=1) + "\n")
        print(run.file)
    if run.file and FLAGS.report:
        threat = audited_threat(run.plan.attacks)
        results["audit"] = keras_adv.audit(*asked, threat=threat)
        found = surface(*asked, threat) if results["clean_accuracy"] else None
        results["surface"] = None if found is None else found.words
        files.write_text(run.file, json.dumps(results, indent=1) + "\n")
        page = run.file.with_name("report.html")
        reports.write_report(page, results, records.load(run.records), found)
        print(page)
    others = FLAGS.shard or FLAGS.merge or FLAGS.transfer_from  # which may have shards there
    if run.plan.folder and not others:
        journal.clear(run.plan.folder)


def _add_to_card(name: str, model: Any, x: Any, y: Any, results: dict[str, Any]) -> None:
    """Writes the card of a run folder with these results, and audits a net that never was, or is to be again:
    at the threat of its training, or else of most attacks on the card."""
    card = cli.card_of(name)
    audits, known = FLAGS.audit or not card.results, card.results
    card = card.with_attacks(results) if known else card.first_measured(results, FLAGS.split)
    if audits:
        specs = [row["spec"] for row in card.results["attacks"]]
        ball, n = audited_threat(specs, cli.trained_threat(card)), min(FLAGS.audit or AUDIT_OF, len(x))
        card = card.with_audit(keras_adv.audit(model, x, y, n=n, threat=ball), ball, n)
        print(f"audit at {registry.spec(ball)}, {n} images:", *(card.audit or ["nothing found"]), sep="\n- ")
    card.save(Path(name))


def _command(name: str) -> str:
    """The command line that measures one model, without its attacks and what it writes."""
    program = f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else sys.argv[0]
    left_out = ("model", "attack", "adaptive", "out", "report", "card", "audit", "merge", "shard", "eps_ref")
    given = [flag for flag in FLAGS.get_key_flags_for_module(sys.argv[0]) if flag.present]
    flags_again = [flag.serialize() for flag in given if flag.name not in left_out]
    return f"{program} {shlex.join([f'--model={name}', *flags_again])}"
