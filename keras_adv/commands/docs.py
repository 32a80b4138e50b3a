"""Writes docs/attacks.md and docs/defenses.md from the registry: python scripts/docs.py

One row for each registered attack, objective, defense and preset; and what the commands say of themselves
into keras_adv/commands/flags.json. The tests see that all are as the code is.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from absl import flags

from keras_adv import files
from keras_adv.commands import NAMES, helping
from keras_adv.pages import methods

FLAGS = flags.FLAGS


def define() -> None:
    """The flags of this command."""
    flags.DEFINE_string("out", "docs", "folder of the pages")


def main() -> None:
    """Runs it, with the flags as they are given."""
    for page in methods.write(FLAGS.out):
        print(page)
    files.write_text(helping.KEPT, described())
    print(helping.KEPT)


def described() -> str:
    """What flags.json is to hold: the docstring and the flags of each command."""
    kept, before, words = {}, _taken(), sys.argv
    sys.argv = words[:1]  # the bench takes its first word from there
    for name in (*NAMES, "docs"):  # one by one: several define the same flags
        command = importlib.import_module(f"keras_adv.commands.{name}")
        command.define()
        kept[name] = helping.describe(str(command.__doc__), _taken())
    sys.argv = words
    for flag in before:
        FLAGS[flag.name] = flag
    return json.dumps(kept, indent=1) + "\n"


def _taken() -> list[Any]:
    """The flags of this package that are defined, which no longer are."""
    modules = FLAGS.flags_by_module_dict().items()
    found = [flag for module, defined in modules if module.startswith("keras_adv.") for flag in defined]
    for flag in found:
        delattr(FLAGS, flag.name)
    return found
