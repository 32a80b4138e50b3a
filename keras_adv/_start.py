"""How a process of ours starts: without TensorFlow's lines, and for its help without TensorFlow."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

HELP = frozenset({"--help", "-h", "-help", "--helpshort", "--helpfull"})
"""Words that ask a command for its help."""


def _is_ours() -> bool:
    """Whether the process was started as `keras-adv`, `python -m keras_adv` or a script of the checkout;
    while `python -m` looks for what to run, the first word is "-m"."""
    first = _first()
    if first.name == "keras-adv" or (first.name == "-m" and "keras_adv" in sys.orig_argv):
        return True
    return first.suffix == ".py" and first.resolve().parent == Path(__file__).resolve().parents[1] / "scripts"


def helps() -> bool:
    """Whether the process only says how it is used: it then needs nothing of the package."""
    nothing = len(sys.argv) < 2 and _first().suffix != ".py"
    return _is_ours() and (nothing or bool(HELP & set(sys.argv[1:])))


def _first() -> Path:
    return Path(sys.argv[0]) if sys.argv else Path()


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Nothing that is imported writes to stderr where TF_CPP_MIN_LOG_LEVEL is 2 or more, as by default on our
    own command line. An import that fails raises all the same."""
    if _is_ours():
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") >= "2" and "tensorflow" not in sys.modules
    try:
        kept = os.dup(2) if quiet and sys.stderr is not None else None
    except OSError:  # there is no stderr
        kept = None
    if kept is None:
        yield
        return
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
