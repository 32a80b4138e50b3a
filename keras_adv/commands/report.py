"""Writes a page to look at: python scripts/report.py --evaluation=results

Of an evaluation, from the folder that scripts/evaluate.py --out wrote (--report there does both); without
--evaluation, of all models of the zoo, from their cards. One HTML file, which needs nothing beside itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import flags

from keras_adv.evaluation import records
from keras_adv.pages import reports
from keras_adv.validate import invalid

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("evaluation", None, "folder with results.json and records.npz; without: the zoo")
    flags.DEFINE_string("out", None, "the HTML file; default report.html in --evaluation, or zoo.html")


def main() -> None:
    """Runs it, with the flags as they are given."""
    folder = FLAGS.evaluation
    out = Path(FLAGS.out or (f"{folder}/report.html" if folder else "zoo.html"))
    if folder:
        reports.write_report(out, _results(folder), records.load(Path(folder) / "records.npz"))
    else:
        reports.write_zoo(out)
    print(out)


def _results(folder: str) -> Any:
    file = Path(folder) / "results.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise invalid("evaluation", "a folder with the results.json of an evaluation", folder) from error
