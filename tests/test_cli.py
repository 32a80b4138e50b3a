"""What ends a script, in one line and with which exit code."""

import errno
import io
import os

import pytest
from absl import app
from rich.console import Console
from rich.table import Table

from keras_adv import cli, zoo
from keras_adv.validate import InvalidInput

FULL = os.strerror(errno.ENOSPC)
ENDS = {
    "bad input": (InvalidInput("`n` must be 1"), 2, "error: `n` must be 1"),
    "a full disk": (OSError(errno.ENOSPC, FULL), 2, FULL),
    "a full disk, as h5py says it": (RuntimeError(f"can't write (errno = 28, message = '{FULL}')"), 2, FULL),
    "Ctrl-C": (KeyboardInterrupt(), 130, "the same command goes on"),
}


def test_a_model_is_measured_on_what_it_was_trained_on(tmp_path, monkeypatch):
    assert cli.data_of("critic_lenet_digits") == "digits" == cli.data_of("FILE.keras")
    card = zoo.card("standard_wrn_cifar10")
    assert "data='cifar10.npz'" in card.recipe and cli.data_of("standard_wrn_cifar10") == "cifar10"
    card.save(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10.npz").write_text("")
    assert cli.data_of(str(tmp_path)) == "cifar10.npz"


@pytest.mark.parametrize("kind", ENDS)
def test_an_end_is_one_line_and_an_exit_code(kind, monkeypatch, capsys):
    raised, code, words = ENDS[kind]

    def main():
        raise raised

    monkeypatch.setattr(app, "run", lambda checked, flags_parser: checked([]))
    with pytest.raises(SystemExit) as ended:
        cli.run(main, __name__, __doc__)
    said = capsys.readouterr().err.strip()
    assert ended.value.code == code and words in said and "\n" not in said


def test_an_error_of_ours_keeps_its_traceback(monkeypatch):
    def main():
        raise ZeroDivisionError

    monkeypatch.setattr(app, "run", lambda checked, flags_parser: checked([]))
    with pytest.raises(ZeroDivisionError):
        cli.run(main, __name__, __doc__)


def test_a_table_fits_a_narrow_terminal_row_by_row(monkeypatch):
    made = Table(title="a model", caption="n = 5")
    for name in ("attack", "robust acc", "mean norm"):
        made.add_column(name)
    made.add_row("pgd(threat=linf(eps=0.1), steps=40)", "90.00%", "-")
    monkeypatch.setattr(cli, "console", lambda: Console(width=38, file=said, force_terminal=False))
    said = io.StringIO()
    cli.show(made)
    lines = [line.rstrip() for line in said.getvalue().splitlines()]
    assert all(len(line) <= 38 for line in lines)
    assert lines == ["a model", "n = 5", "pgd(threat=linf(eps=0.1), steps=40)", "  robust acc 90.00%"]
