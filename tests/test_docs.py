"""The examples of README and CONTRIBUTING run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from keras_adv import fit, registry
from keras_adv.models import MLP

ROOT = Path(__file__).parents[1]
README = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_readme_examples_run(tmp_path, monkeypatch, capsys):
    load, more, defend, serve = README
    exec(load, {})
    exec(more, {})
    printed = capsys.readouterr().out
    assert "robust accuracy" in printed and "transferred" in printed
    exec(defend.replace("epochs=5", "epochs=1"), {})
    import keras_adv

    keras_adv.export(keras_adv.zoo.load("critic_lenet_digits"), tmp_path / "served" / "1")
    monkeypatch.chdir(tmp_path)
    exec(serve, {})
    assert "label" in serve


def test_the_defense_of_contributing_is_a_whole_one(digits):
    example = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S).group(1)
    assert len(example.splitlines()) <= 24
    try:
        exec(example, {"__name__": "example"})
        made = registry.parse("defense", "logit_squeezing(weight=0.2)")
        net = MLP(units=(20,)).build(digits.shape, digits.classes)
        assert isinstance(fit.defend(net, made, *digits.train, epochs=1, verbose=0), keras.Model)
    finally:
        registry._CLASSES.pop("logit_squeezing", None)


@pytest.mark.parametrize("name", ["train.py", "evaluate.py", "export.py", "search.py", "zoo.py", "bench.py"])
def test_scripts_named_in_the_readme_exist_and_are_short(name):
    assert f"scripts/{name}" in (ROOT / "README.md").read_text()
    assert len((ROOT / "scripts" / name).read_text().splitlines()) <= 70


def test_the_pages_of_attacks_and_defenses_are_as_the_registry_says(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "docs.py"), f"--out={tmp_path}"]
    subprocess.run(command, check=True, capture_output=True)
    for kind in ("attack", "defense"):
        page = (tmp_path / f"{kind}s.md").read_text()
        assert page == (ROOT / "docs" / f"{kind}s.md").read_text()
        assert page.count("\n| `") == len(registry.registered(kind))
