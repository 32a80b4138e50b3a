"""The path of CONTRIBUTING.md, walked from its text: its attack and its defense pass every gate."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
IMPORTS = re.findall(r"`(from keras_adv\.(\w+)\.(\w+) import (\w+))`", " ".join(PAGE.split()))


DOCS_THEN_TESTS = """
import runpy, sys
import pytest
asked, sys.argv = sys.argv[1:], ["docs"]
try:
    runpy.run_module("scripts.docs", run_name="__main__")
except SystemExit as ended:
    if ended.code:
        raise
sys.exit(pytest.main(asked))
"""


def run(house, *command):
    """The output of Python in the copy of the house. Fails with it where Python fails."""
    env = {**os.environ, "PYTHONPATH": str(house), "KERAS_BACKEND": keras.config.backend()}
    done = subprocess.run(
        [sys.executable, *command], cwd=house, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the house with the two files of the page, imported as it says."""
    made = tmp_path_factory.mktemp("house")
    for name in ("keras_adv", "tests", "scripts", "docs"):
        shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "ruff.toml", "README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, made / name)
    if (ROOT / ".mypy_cache").is_dir():  # what was checked already is not checked again
        shutil.copytree(ROOT / ".mypy_cache", made / ".mypy_cache")
    (made / "zoo").symlink_to(ROOT / "zoo")
    assert len(BLOCKS) == len(IMPORTS) == 2
    for text, (line, folder, module, name) in zip(BLOCKS, IMPORTS, strict=True):
        (made / "keras_adv" / folder / f"{module}.py").write_text(text)
        face = made / "keras_adv" / folder / "__init__.py"
        face.write_text(
            face.read_text().replace("\n\n__all__ = [\n", f'\n{line}\n\n__all__ = [\n    "{name}",\n')
        )
    # the order of the imports
    run(made, "-m", "ruff", "check", "-q", "--fix", "--select", "I,RUF022", "keras_adv")
    return made


@pytest.fixture(scope="module")
def told(house):
    """What pytest tells of the laws asked of the two by their names, after the pages were written anew; one
    process, because the package is imported but once."""
    laws = ["tests/attacks/test_every_attack.py", "tests/defenses/test_every_defense.py"]
    asked = " or ".join(["structure", *(module for _, _, module, _ in IMPORTS)])
    files = ["tests/test_structure.py", *laws]
    return run(house, "-c", DOCS_THEN_TESTS, "-v", *files, "-k", asked, "-p", "no:cacheprovider")


def test_the_examples_are_whole_and_short():
    for text, (_, _, module, name) in zip(BLOCKS, IMPORTS, strict=True):
        assert f"class {name}(" in text and f'"{module}")' in text
        assert len(text[text.index("@register") :].splitlines()) <= 42


@pytest.mark.slow
def test_lint_types_and_pages_take_them(house, told):
    files = [f"keras_adv/{folder}/{module}.py" for _, folder, module, _ in IMPORTS]
    run(house, "-m", "ruff", "check", "keras_adv")
    run(house, "-m", "ruff", "format", "--check", *files)
    run(house, "-m", "mypy", *files)
    for page, (_, _, module, _) in zip(("attacks.md", "defenses.md"), IMPORTS, strict=True):
        assert f"| `{module}` |" in (house / "docs" / page).read_text()


@pytest.mark.slow
def test_the_structure_and_the_laws_hold_for_them_by_their_names_alone(told):
    passed = [line for line in told.splitlines() if " PASSED" in line]
    for _, _, module, _ in IMPORTS:
        assert sum(f"[{module}" in line for line in passed) >= 4, told
    assert sum("test_structure" in line for line in passed) >= 4
