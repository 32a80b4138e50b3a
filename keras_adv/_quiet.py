"""Imports without the lines that TensorFlow writes before it has read TF_CPP_MIN_LOG_LEVEL."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def _is_ours() -> bool:
    """Whether the process was started as `keras-adv` or `python -m keras_adv`: while `python -m` looks for
    what to run, the first word is "-m"."""
    first = os.path.basename(sys.argv[0]) if sys.argv else ""
    return first == "keras-adv" or (first == "-m" and "keras_adv" in sys.orig_argv)


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
