"""Imports without the lines that TensorFlow writes before it has read TF_CPP_MIN_LOG_LEVEL."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

OURS = ("keras-adv", "-m")
"""First words of a command line of this package; "-m" only while `python -m` looks for what it is to run."""


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Nothing that is imported writes to stderr where TF_CPP_MIN_LOG_LEVEL is 2 or more, as by default on our
    own command line. An import that fails raises all the same."""
    if os.path.basename(sys.argv[0] if sys.argv else "") in OURS:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") < "2" or "tensorflow" in sys.modules:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
