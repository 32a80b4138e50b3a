"""`keras-adv` and `python -m keras_adv`: what they run, and that they print their own lines alone."""

import os
import subprocess
import sys

import pytest

from keras_adv import commands
from keras_adv.commands import docs, helping

PLAIN = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def run(*words):
    command = [sys.executable, "-m", "keras_adv", *words]
    return subprocess.run(command, env=PLAIN, capture_output=True, text=True, timeout=120)


def test_help_of_a_command_lists_its_flags_and_imports_next_to_nothing():
    done = run("evaluate", "--help")
    assert "--attack: " in done.stdout and "keras-adv evaluate" in done.stdout and done.stderr == ""
    command = [sys.executable, "-X", "importtime", "-m", "keras_adv", "train", "--help"]
    said = subprocess.run(command, env=PLAIN, capture_output=True, text=True, timeout=120).stderr
    assert "keras_adv.commands" in said
    assert not [name for name in ("tensorflow", "jax", "keras ", "numpy", "absl") if f" {name}" in said]


def test_a_reader_of_the_help_may_stop_early():
    command = f"{sys.executable} -m keras_adv train --help | head -1"
    done = subprocess.run(command, shell=True, env=PLAIN, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("Trains") and done.stderr == ""


@pytest.mark.parametrize("width", [40, 80])
def test_help_fits_the_terminal_and_has_defaults_and_presets(width):
    said = helping.text("train", "keras-adv train", width)
    assert all(len(line) <= width for line in said.splitlines())
    flat = " ".join(said.split())
    assert "(default: 1000)" in flat and "trades_cifar" in flat and "--[no]publish: " in flat


def test_the_help_is_as_the_flags_are():
    assert helping.KEPT.read_text() == docs.described()


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_without_a_command_all_are_named(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["keras-adv", *words])
    commands.main()
    said = capsys.readouterr().out
    assert all(name in said for name in commands.NAMES)


def test_another_command_is_one_line_and_exit_code_2(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["keras-adv", "evalute"])
    with pytest.raises(SystemExit) as end:
        commands.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "'evalute'" in said and len(said.splitlines()) == 1
