"""Writes a page to look at: python scripts/report.py --evaluation=results

Of an evaluation, from the folder that scripts/evaluate.py --out wrote (--report there does both); without
--evaluation, of all models of the zoo, from their cards. One HTML file, which needs nothing beside itself.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags

from keras_adv.evaluation import records
from keras_adv.pages import reports
from keras_adv.validate import invalid, output_folder

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("evaluation", None, "folder with results.json and records.npz; without: the zoo")
    flags.DEFINE_string("out", None, "the HTML file; default report.html in --evaluation, or zoo.html")


def main() -> None:
    """Runs it, with the flags as they are given."""
    folder = FLAGS.evaluation
    out = Path(FLAGS.out or (f"{folder}/report.html" if folder else "zoo.html"))
    if out.is_dir():
        raise invalid("out", "a file", str(out))
    if folder:
        results = Path(folder) / "results.json"
        if not results.is_file():
            raise invalid("evaluation", "a folder with results.json", folder)
        kept = records.load(results.with_name("records.npz"))
        output_folder(out.parent)
        reports.write_report(out, json.loads(results.read_text(encoding="utf-8")), kept)
    else:
        output_folder(out.parent)
        reports.write_zoo(out)
    print(out)
