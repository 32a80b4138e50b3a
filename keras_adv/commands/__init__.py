"""The command lines, `keras-adv NAME` or `python scripts/NAME.py`: a file each, with its flags."""

from __future__ import annotations

import importlib
import os
import sys

from keras_adv import _start
from keras_adv.commands import helping

NAMES = (
    "train", "evaluate", "embed", "search", "export", "bench", "zoo", "report", "unpack", "convert", "study",
    "reproduce",
)  # fmt: skip
"""What `keras-adv` runs; docs is for a checkout alone."""


def run(name: str) -> None:
    """Runs a command with the flags of the process, or prints its help."""
    if _start.HELP & set(sys.argv[1:]):
        program = sys.argv[0]
        return _say(helping.text(name, f"python {program}" if program.endswith(".py") else program))
    with _start.imports():
        cli = importlib.import_module("keras_adv.cli")
        command = importlib.import_module(f"keras_adv.commands.{name}")
    command.define()
    cli.run(command.main, command.__name__, str(command.__doc__))


def _say(text: str) -> None:
    """Prints it; a reader that stops early, as `head` does, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """`keras-adv NAME --flag=value`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in NAMES:
        sys.argv[:2] = [f"keras-adv {name}"]
        return run(name)
    said = "usage: keras-adv NAME --flag=value; keras-adv NAME --help. NAME is one of " + ", ".join(NAMES)
    if name == "help" or name in _start.HELP:
        print(said)
        return None
    print(f"error: {said}. Received: {name!r}", file=sys.stderr)
    sys.exit(2)
