"""What ends a script, in one line and with which exit code."""

import errno
import os

import pytest
from absl import app

from keras_adv import cli
from keras_adv.validate import InvalidInput

FULL = os.strerror(errno.ENOSPC)
ENDS = {
    "bad input": (InvalidInput("`n` must be 1"), 2, "error: `n` must be 1"),
    "a full disk": (OSError(errno.ENOSPC, FULL), 2, FULL),
    "a full disk, as h5py says it": (RuntimeError(f"can't write (errno = 28, message = '{FULL}')"), 2, FULL),
    "Ctrl-C": (KeyboardInterrupt(), 130, "the same command goes on"),
}


@pytest.mark.parametrize("kind", ENDS)
def test_an_end_is_one_line_and_an_exit_code(kind, monkeypatch, capsys):
    raised, code, words = ENDS[kind]

    def main():
        raise raised

    monkeypatch.setattr(app, "run", lambda checked, flags_parser: checked([]))
    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    said = capsys.readouterr().err.strip()
    assert ended.value.code == code and words in said and "\n" not in said


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def main():
        raise ZeroDivisionError

    monkeypatch.setattr(app, "run", lambda checked, flags_parser: checked([]))
    with pytest.raises(ZeroDivisionError):
        cli.run(main)
